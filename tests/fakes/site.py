"""A site to be probed: a real HTTP server, with TLS where a certificate is given, and certificates that end on a given day."""

import datetime
import subprocess
from pathlib import Path

from tests.fakes.scripted import ScriptedServer
from tests.fakes.smtp import Certificate, certificate

_AUTHORITY = """
[ca]
default_ca = own
[own]
database = {folder}/index.txt
new_certs_dir = {folder}
serial = {folder}/serial
default_md = sha256
policy = any
[any]
commonName = supplied
"""


class Site(ScriptedServer):
    """Answers by `script`, over TLS with a certificate; its address has the name localhost."""

    def __init__(self, secured: Certificate | None = None) -> None:
        """Listen at once."""
        super().__init__()
        self.url = f"http://localhost:{self.port}"
        if secured is not None:
            self.url = f"https://localhost:{self.port}"
            self._server.socket = secured.context().wrap_socket(self._server.socket, server_side=True)


def certificate_until(folder: Path, end: datetime.datetime) -> Certificate:
    """Make a certificate for localhost, its own authority, that is valid for a year up to a time, past or to come."""
    made = certificate(folder, "localhost")
    settings, request = folder / "authority.cnf", folder / "request.pem"
    settings.write_text(_AUTHORITY.format(folder=folder))
    (folder / "index.txt").write_text("")
    (folder / "serial").write_text("01")
    run = ["openssl", "req", "-new", "-key", str(made.key), "-subj", "/CN=localhost", "-out", str(request)]
    subprocess.run(run, check=True, capture_output=True)
    names = folder / "names.cnf"
    names.write_text("subjectAltName = DNS:localhost\n")
    run = ["openssl", "ca", "-batch", "-notext", "-selfsign", "-config", str(settings), "-keyfile", str(made.key)]
    run += ["-startdate", f"{end - datetime.timedelta(365):%Y%m%d%H%M%SZ}", "-enddate", f"{end:%Y%m%d%H%M%SZ}"]
    run += ["-in", str(request), "-out", str(made.file), "-extfile", str(names)]
    subprocess.run(run, check=True, capture_output=True)
    return made
