"""CPU time that a process which is not ours has used, as the kernel counts it: what the parts of a benchmark cost."""

import os
from pathlib import Path


def used_s(pid: int) -> float:
    """Give the CPU time (user and system, s) that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
