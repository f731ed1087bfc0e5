"""Access logs: lines of two real web servers as Logpush records, for replays of real traffic.

`python -m tests.access_logs DIR` writes one file of records for each log of `data/access`, whose README names their sources.
A line says when a request was answered, to the second, and nothing of how long that took.
"""

import csv
import gzip
import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ACCESS = Path(__file__).parent / "data" / "access"
NASA = "nasa_19950701.tsv.gz"
SEMICOMPLETE = "semicomplete_2015_apache_combined.log.gz"
# A referrer may hold quotes with a backslash before them, and the last line of a log may be cut short: neither is needed here.
COMBINED = re.compile(
    r'(?P<client>\S+) \S+ \S+ \[(?P<time>[^]]+)\] "(?P<method>\S+) (?P<url>\S+) [^"]*" (?P<status>\d+) (?P<bytes>\S+) '
)


def record(host: str, client: str, second: int, request: tuple[str, str, int, int]) -> dict[str, Any]:
    """Give a Logpush record of a request: its method, URL, status and bytes of body."""
    method, url, status, size = request
    when = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "ClientIP": client,
        "ClientRequestHost": host,
        "ClientRequestMethod": method,
        "ClientRequestPath": url.partition("?")[0],
        "ClientRequestURI": url,
        "EdgeEndTimestamp": when,
        "EdgeResponseBytes": size,
        "EdgeResponseStatus": status,
        "EdgeStartTimestamp": when,
    }


def nasa() -> Iterator[dict[str, Any]]:
    """Give the records of the NASA log, in its order."""
    with gzip.open(ACCESS / NASA, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            request = row["method"], row["url"], int(row["response"]), int(row["bytes"])
            yield record("www.ksc.nasa.gov", row["host"], int(row["time"]), request)


def semicomplete() -> Iterator[dict[str, Any]]:
    """Give the records of the Apache log, in its order, which is not that of time."""
    with gzip.open(ACCESS / SEMICOMPLETE, "rt", encoding="utf-8") as file:
        for line in file:
            found = COMBINED.match(line)
            if found is None:
                raise ValueError(f"{SEMICOMPLETE}: not a line of the combined format: {line!r}")
            second = int(datetime.strptime(found["time"], "%d/%b/%Y:%H:%M:%S %z").timestamp())
            size = 0 if found["bytes"] == "-" else int(found["bytes"])
            yield record(
                "semicomplete.com", found["client"], second, (found["method"], found["url"], int(found["status"]), size)
            )


def write(folder: Path) -> None:
    """Write the records of both logs below `folder`, each log in a folder of its own."""
    for name, records in (("nasa", nasa()), ("semicomplete", semicomplete())):
        path = folder / name / "requests.ndjson"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
