"""The receiver in a process of its own, for tests: started by the command, spoken to over real HTTP."""

import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests import runs

CONFIG = """
[input.kafka]
brokers = ["{brokers}"]
topics = {{ {topics} }}

[receive]
listen = "127.0.0.1:{port}"
"""


@dataclass(slots=True)
class Receiver:
    """A receiver that runs; `log` is what it wrote."""

    process: subprocess.Popen[bytes]
    url: str
    log_file: Path

    @property
    def log(self):
        return self.log_file.read_text()

    def post(self, body, dataset="http_requests", **options):
        headers = {"Content-Encoding": "gzip"} | options.pop("headers", {})
        return httpx.post(f"{self.url}{dataset}", content=body, headers=headers, timeout=60, **options)

    def get(self, path):
        return httpx.get(self.url.removesuffix("/logpush/") + path, timeout=30)

    def end(self):
        """Tell it to stop, and give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(240)


def start(folder, brokers, topics, *lines, port=0, scheme="http"):
    """Start the command and wait until it listens; `topics` is topic -> dataset, `lines` go into [receive]."""
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / "monitor.toml", folder / "receive.log"
    listed = ", ".join(f'"{topic}" = "{dataset}"' for topic, dataset in topics.items())
    config.write_text(CONFIG.format(brokers=brokers, topics=listed, port=port) + "\n".join(lines) + "\n")
    log.write_text("")
    process = runs.start("receive", "-c", config, log=log)

    def listens():
        assert process.poll() is None, log.read_text()
        return re.search(r"listening on (\S+/logpush/)", log.read_text())

    runs.wait_until(listens, what="the receiver")
    found = listens()
    assert found is not None
    assert found[1].startswith(scheme + "://")
    return Receiver(process, found[1], log)
