"""The records that all contenders of `benchmarks.peers` get, as topics of a broker and as NDJSON files, and the right rows.

Lines of about 800 bytes in order of event time over three windows, four partitions, dealt to them in turn.
"""

import shutil

import orjson

from benchmarks.line import PARTITIONS, fill
from benchmarks.peers.answers import expected
from benchmarks.peers.contenders import BLOBS
from benchmarks.records import START, lines
from tests.kafka import topics
from tests.kafka.topics import Sent

BLOB = 500  # records of an NDJSON message
_FILES = 4  # of a partition
_LATER_MS = 7_200_000
_MORE = (
    b',"ClientASN":16509,"ClientSSLProtocol":"TLSv1.3","ClientSSLCipher":"AEAD-AES128-GCM-SHA256","EdgeServerIP":"203.0.113.7"}'
)


class DataSet:
    """So many records, made once, as files in `folder` and as the topics that are asked for."""

    def __init__(self, records, folder):
        self.folder = folder / f"files-{records}"
        self.records = records
        self._lines = [line[:-1] + _MORE for line in lines(records)]
        self.bytes = sum(map(len, self._lines)) / records
        self.expected = expected(self._lines)
        self._topics: dict[str, str] = {}

    def files(self):
        """Write the files; gives their folder, laid out as edgewatch's archives are."""
        if not self.folder.exists():
            for partition in range(PARTITIONS):
                place = self.folder / "http_requests" / f"p{partition}"
                place.mkdir(parents=True)
                own = self._lines[partition::PARTITIONS]
                size = -(-len(own) // _FILES)
                for number, first in enumerate(range(0, len(own), size)):
                    body = b"\n".join(own[first : first + size]) + b"\n"
                    (place / f"{number:04}.ndjson").write_bytes(body)
        return self.folder

    def topic(self, brokers, kind):
        """Fill a topic of that kind (plain, keyed, blobs); gives its name."""
        if kind not in self._topics:
            name = f"peers-{kind}-{self.records}"
            if kind == "keyed":
                self._keyed(brokers, name)
            else:
                fill(brokers, name, self._lines, BLOB if kind == BLOBS else 1)
            self._topics[kind] = name
        return self._topics[kind]

    def _keyed(self, brokers, name):
        topics.create(brokers, name, PARTITIONS, {"retention.ms": "-1"})
        hosts: dict[str, int] = {}
        sent, last = [], self._lines[-1]
        for line in self._lines:
            host = orjson.loads(line)["ClientRequestHost"]
            partition = hosts.setdefault(host, len(hosts)) % PARTITIONS
            sent.append(Sent(host.encode(), line, START + 900_000, partition))
        record = orjson.loads(last)
        for host, number in hosts.items():  # closes what is open, and is in no window that is asked for
            later = record | {"ClientRequestHost": host, "EdgeEndTimestamp": (START + _LATER_MS) * 1_000_000}
            sent.append(Sent(host.encode(), orjson.dumps(later), START + 900_000, number % PARTITIONS))
        topics.send(brokers, name, sent)

    def release(self):
        """Forget the lines and remove the files."""
        self._lines = []
        shutil.rmtree(self.folder, ignore_errors=True)
