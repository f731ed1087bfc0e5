"""Who takes part in `benchmarks.peers`, and the command that each runs: one place, so that nobody is left out unseen.

Settings stand in the file of each (`with_NAME.py`), pinned versions in `pinned/NAME.txt`.
"""

import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers.answers import ROUNDING, answered, answered_by_edgewatch

HERE = Path(__file__).parent
PLACE = HERE.parents[1] / ".cache" / "peers"
CORES = 2
KAFKA, FILES, BLOBS = "kafka", "files", "blobs"
SLOW = 20  # a slow contender gets one record in so many, and at least FEWEST where there are
FEWEST = 20_000


class Job(NamedTuple):
    """What one run reads and where it writes; `rows` are how many rows come out."""

    brokers: str
    topic: str
    folder: Path
    out: Path
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to do the work. `pinned` names what its virtual environment holds; edgewatch and naive run in this one."""

    name: str
    reads: tuple[str, ...]
    settings: str
    pinned: str | None = None
    jar: str | None = None  # group:artifact:version, put beside by Maven
    threads: int = 1
    slow: bool = False
    keyed: bool = False  # reads a topic keyed by host
    p99: str = "exact"
    p99_within: float = ROUNDING

    def share(self, records):
        """Give how many of so many records it gets."""
        return max(records // SLOW, min(records, FEWEST)) if self.slow else records

    def topic(self, series):
        """Give which kind of topic it reads."""
        return BLOBS if series == BLOBS else "keyed" if self.keyed else "plain"

    @property
    def environment(self):
        """Give the folder of its virtual environment."""
        return PLACE / str(self.pinned)

    @property
    def jars(self):
        """Give the folder of the jar it needs besides."""
        return PLACE / f"{self.pinned}-jars"

    def command(self, series, job):
        """Give what to run."""
        if self.name.startswith("edgewatch"):
            return self._edgewatch(series, job)
        if self.pinned is None:
            return [sys.executable, "-m", "benchmarks.peers.with_naive", job.brokers, job.topic, job.out / "rows", job.rows]
        # -P, because a script's own folder must not come before what is installed.
        script = [self.environment / "bin" / "python", "-P", HERE / f"with_{self.pinned}.py"]
        if KAFKA not in self.reads:
            return [*script, job.folder, job.out / "rows", self.threads]
        jars = [next(self.jars.glob("*.jar"))] if self.jar else []
        return ["env", f"PATHWAY_THREADS={self.threads}", *script, job.brokers, job.topic, job.out / "rows", job.rows, *jars]

    def _edgewatch(self, series, job):
        config = job.out / "edgewatch.toml"
        text = (HERE / "edgewatch.toml").read_text()
        text = text.replace("BROKERS", job.brokers or "127.0.0.1:9").replace("TOPIC", job.topic or "none")
        config.write_text(text.replace("EXACT", str(_ALL if self.p99 == "exact" else _DEFAULT)))
        source = ["--source", f"archive:{job.folder}"] if series == FILES else []
        out = ["--out", job.out / "out", "--processes", self.threads]
        return [sys.executable, "-m", "flows.cli", "replay", "-c", config, *source, *out]

    def answer(self, job):
        """Read the rows it wrote."""
        if self.name.startswith("edgewatch"):
            return answered_by_edgewatch(job.out / "out" / "windows.ndjson")
        return answered(job.out / "rows")

    def version(self, said):
        """Give the version it said it is; edgewatch's own is that of this environment."""
        return metadata.version("edgewatch") if self.name.startswith("edgewatch") else said["version"]


_ALL, _DEFAULT = 1_000_000_000, 20_000  # values of a key and window up to which edgewatch keeps each
_OURS = "recovery store, snapshots and output files included"
_BEYOND = f"exact up to {_DEFAULT:,} values a host and window (the default), beyond that by a histogram, within 1/256"
_EDGEWATCH: dict[str, Any] = {"p99": _BEYOND, "p99_within": 2**-8}
CONTENDERS = (
    Contender(name="edgewatch", reads=(KAFKA, FILES, BLOBS), settings=f"one process; {_OURS}", **_EDGEWATCH),
    Contender(name="edgewatch-exact", reads=(KAFKA, FILES, BLOBS), settings=f"one process, every value kept; {_OURS}"),
    Contender(name="edgewatch-2", reads=(KAFKA, FILES, BLOBS), settings=f"two processes; {_OURS}", threads=2, **_EDGEWATCH),
    Contender(name="naive", reads=(KAFKA,), settings="stock Bytewax, one worker, no recovery"),
    Contender(
        name="quix",
        reads=(KAFKA,),
        pinned="quix",
        slow=True,
        keyed=True,
        settings="one thread, topic keyed by host, no changelog topics",
    ),
    Contender(
        name="pathway", reads=(KAFKA,), pinned="pathway", threads=CORES, settings="static mode, two threads, no persistence"
    ),
    Contender(
        name="flink",
        reads=(KAFKA,),
        pinned="flink",
        jar="org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2",
        threads=CORES,
        settings="SQL in streaming mode, parallelism 2, heap state, no checkpoints",
    ),
    Contender(name="duckdb", reads=(FILES, BLOBS), pinned="duckdb", threads=CORES, settings="two threads; reads files"),
    Contender(name="duckdb-1", reads=(FILES, BLOBS), pinned="duckdb", settings="one thread; reads files"),
    Contender(name="chdb", reads=(FILES,), pinned="chdb", threads=CORES, settings="two threads"),
    Contender(name="polars", reads=(FILES,), pinned="polars", threads=CORES, settings="streaming engine, two threads"),
)
