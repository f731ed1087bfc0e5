"""A clock of the day that can be set, for the processes that are started with its environment; uptime goes on as it is."""

import shutil
import struct
import subprocess
from pathlib import Path

from tests import services

_SOURCE = Path(__file__).with_suffix(".c")


class SteppedClock:
    """Right until it is set."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("cc") is None:
            services.missing("compiler", "no cc")
        library = folder / "stepped_clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE)], check=True)
        self._file = folder / "step"
        self._file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(self._file)}

    def step(self, seconds: float) -> None:
        """Have it be so far ahead from now on (behind where that is below 0)."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", int(seconds * 1000)))
