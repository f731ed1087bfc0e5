"""A real Apache Kafka broker (KRaft) that a test may start, stop, pause, kill and start again on its data."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.fakes.authority import Authority
from tests.ports import free_ports

LIBS = Path(__file__).parents[2] / ".cache" / "kafka" / "libs"

_CLUSTER = "ZWRnZXdhdGNoLXRlc3RzLQ"  # any 16 bytes in base64
_READY_S = 180.0
_STOP_S = 120.0
_PROTOCOLS = "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT"
_RULES = ("authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS")
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
_HEAP = ("-Xms128m", "-Xmx768m")
# A broker of a test lives for seconds: what costs a processor is its start. Its classes come parsed from an archive where
# `make` has made one (a JVM that finds it unfit goes on without), and the second compiler would never pay.
_CLASSES = LIBS.parent / "classes.jsa"
_QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """The one user of a broker's SASL listener."""

    user: str
    password: str


class BrokerError(Exception):
    """The broker did not start; the message holds the end of its log."""


def missing() -> str | None:
    """Give what a broker lacks on this machine, or None."""
    if shutil.which("java") is None:
        return "no java"
    if not any(LIBS.glob("kafka-clients-*.jar")):
        return "no Kafka jars"
    return None


class Broker:
    """One broker on 127.0.0.1. Its data stay in `directory`, so start() after kill() finds them again.

    `address` takes anyone; with a `login`, `sasl_address` (SASL_PLAINTEXT; PLAIN, SCRAM) takes that user alone, and asks
    again for the password every `login_ms`. With an `authority` whose certificates it takes, `tls_address` (SSL) wants a
    client's certificate, and `sasl_tls_address` (SASL_SSL) the login. With `rules`, who logs in may do what access rules
    (ACLs) allow, and who does not may do everything. One that is given a `first` joins that one's cluster as broker `node`.
    Topics are not made by reading or writing. The process ends with the one that started it.
    """

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        *,
        login: Login | None = None,
        login_ms: int = 0,
        authority: Authority | None = None,
        rules: bool = False,
        first: "Broker | None" = None,
        node: int = 1,
    ) -> None:
        self.directory = directory
        ports = free_ports(5)
        self.port = port or ports[0]
        self.address = f"127.0.0.1:{self.port}"
        self.sasl_address = f"127.0.0.1:{ports[2]}"
        self.tls_address, self.sasl_tls_address = f"localhost:{ports[3]}", f"localhost:{ports[4]}"
        self.log = directory / "broker.log"
        self.node, self._first = node, first
        self._controller: str = first._controller if first is not None else f"127.0.0.1:{ports[1]}"
        self._login, self._login_ms, self._authority, self._rules = login, login_ms, authority, rules
        self._process: subprocess.Popen[bytes] | None = None
        self.archive: Path | None = None  # where the JVM writes the classes it has loaded, when it ends

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The broker's process; raises BrokerError where none runs."""
        return self._running().pid

    def start(self) -> None:
        """Start, on the data of an earlier start if there are any, and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = self.directory / "server.properties"
        settings.write_text(self._settings(), encoding="utf-8")
        if not (self.directory / "data" / "meta.properties").exists():
            scram = [f"SCRAM-SHA-512=[name={login.user},password={login.password}]"] if (login := self._login) else []
            users = [each for user in scram for each in ("--add-scram", user)]
            self._java("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(settings), *users).wait()
        write = (f"-XX:ArchiveClassesAtExit={self.archive}",) if self.archive else ()
        self._process = self._java(*write, "kafka.Kafka", str(settings))
        self._until_ready()

    def stop(self) -> None:
        """Let it shut down in order; no harm where it does not run."""
        if self._process is None:
            return
        self.resume()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it at once, as kill -9 does."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def pause(self) -> None:
        """Freeze it: its connections stay open and nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen one go on."""
        self._running().send_signal(signal.SIGCONT)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise BrokerError("the broker does not run")
        return self._process

    def _java(self, *command: str) -> subprocess.Popen[bytes]:
        # setpriv becomes java itself, which the kernel then ends together with this process.
        tied = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        read = () if self.archive or not _CLASSES.exists() else (f"-XX:SharedArchiveFile={_CLASSES}", "-Xshare:auto")
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*tied, "java", *_HEAP, *_QUICK, *read, "-cp", f"{LIBS}/*", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )

    def _until_ready(self) -> None:
        end = time.monotonic() + _READY_S
        while not self._answers():
            if self._running().poll() is not None or time.monotonic() > end:
                with contextlib.suppress(BrokerError):
                    self.kill()
                raise BrokerError("\n".join(self.log.read_text(errors="replace").splitlines()[-30:]))
            time.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        with contextlib.suppress(KafkaException):
            client = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
            return self.node in client.list_topics(timeout=5).brokers
        return False

    def _settings(self) -> str:
        listeners = [f"PLAINTEXT://{self.address}"]
        if self._login is not None:
            listeners.append(f"SASL_PLAINTEXT://{self.sasl_address}")
        if self._authority is not None:
            listeners += [f"SSL://{self.tls_address}", f"SASL_SSL://{self.sasl_tls_address}"]
        controller = [f"CONTROLLER://{self._controller}"] if self._first is None else []
        lines = [
            f"process.roles={'broker,controller' if self._first is None else 'broker'}",
            f"node.id={self.node}",
            f"controller.quorum.voters=1@{self._controller}",
            "controller.listener.names=CONTROLLER",
            "inter.broker.listener.name=PLAINTEXT",
            f"listeners={','.join([*listeners, *controller])}",
            f"advertised.listeners={','.join(listeners)}",
            f"listener.security.protocol.map={_PROTOCOLS}",
            f"log.dirs={self.directory / 'data'}",
            "auto.create.topics.enable=false",
            "group.initial.rebalance.delay.ms=0",
            "broker.heartbeat.interval.ms=500",
            "broker.session.timeout.ms=2000",  # a killed broker's next life waits this long for the first
            "offsets.topic.num.partitions=1",
            "offsets.topic.replication.factor=1",
            "transaction.state.log.num.partitions=1",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
        ]
        return "\n".join([*lines, *self._logins(), *self._certificates(), *(_RULES if self._rules else ())]) + "\n"

    def _logins(self) -> list[str]:
        if self._login is None:
            return []
        user = f'user_{self._login.user}="{self._login.password}"'
        known = {"plain": f"{_PLAIN} required {user};", "scram-sha-512": f"{_SCRAM} required;"}
        listeners = ("sasl_plaintext", "sasl_ssl")
        return [
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512",
            f"connections.max.reauth.ms={self._login_ms}",
            *(f"listener.name.{each}.{how}.sasl.jaas.config={entry}" for each in listeners for how, entry in known.items()),
        ]

    def _certificates(self) -> list[str]:
        if self._authority is None:
            return []
        made = self._authority.issue("localhost")
        chain = self.directory / "localhost.pem"
        chain.write_bytes(made.key.read_bytes() + made.file.read_bytes())
        return [
            *("ssl.keystore.type=PEM", f"ssl.keystore.location={chain}"),
            *("ssl.truststore.type=PEM", f"ssl.truststore.location={self._authority.file}"),
            "listener.name.ssl.ssl.client.auth=required",
        ]
