"""Authority: certificates for servers and clients, signed by a root of the test's own; what it signs is valid for two days."""

import subprocess
from pathlib import Path

from tests.fakes.smtp import Certificate

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


class Authority:
    """A root in a folder: `file` is its certificate (PEM)."""

    def __init__(self, folder: Path, name: str = "root") -> None:
        """Make it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._key, self.file = folder, folder / f"{name}.key", folder / f"{name}.pem"
        _openssl(
            "req", "-x509", *_CURVE, "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.file
        )

    def issue(self, host: str, *, password: str = "") -> Certificate:
        """Make a certificate for a host, or for a client of that name; the key is encrypted where there is a password."""
        made = Certificate(self._folder / f"{host}.key", self._folder / f"{host}.crt")
        request, names = self._folder / f"{host}.csr", self._folder / f"{host}.ext"
        names.write_text(f"subjectAltName = DNS:{host}\n")
        sealed = ["-passout", f"pass:{password}"] if password else ["-nodes"]
        _openssl("req", "-new", *_CURVE, *sealed, "-subj", f"/CN={host}", "-keyout", made.key, "-out", request)
        signed = ["-CA", self.file, "-CAkey", self._key, "-CAcreateserial", "-days", "2", "-extfile", names]
        _openssl("x509", "-req", "-in", request, *signed, "-out", made.file)
        return made


def _openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
