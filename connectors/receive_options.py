"""Receive options: the `[receive]` table: where the Logpush receiver listens, whom it lets in, and how much it takes at once.

Apart from the receiver so that reading a configuration imports no web server.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

from connectors.record_path import RecordPath

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a header's name (RFC 9110, 5.6.2)
_SHORTEST_SECRET = 16
_SECOND_MS = 1000
_LARGEST_MESSAGE = 900_000  # bytes; brokers take 1 MB unless told otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveOptions:
    """The HTTP destination of Logpush jobs. `secrets` and `client` show nowhere."""

    listen: str = field(
        default="127.0.0.1:8088", metadata={"help": "host:port; other machines reach it only where this says so"}
    )
    secrets: tuple[str, ...] = field(
        default=(), repr=False, metadata={"secret": True, "help": "any of them opens the door; several while they are changed"}
    )
    header: str = field(default="X-CF-Secret", metadata={"help": "the header that holds the secret"})
    topics: dict[str, str] = field(
        default_factory=dict, metadata={"help": "dataset = topic; empty: the topics of [input.kafka] the other way round"}
    )
    dead_letters: str = field(
        default="edgewatch.dead_letters",
        metadata={"help": "topic of lines that are no records; empty: they go on to the dataset's topic"},
    )
    keep_whole: bool = field(
        default=True, metadata={"help": "dead letters carry the whole line in a header, so that it can be replayed"}
    )
    drop: tuple[str, ...] = field(default=(), metadata={"help": "fields (or paths) that are personal: they do not come in"})
    hash_: tuple[str, ...] = field(default=(), metadata={"help": "fields (or paths) of which a keyed hash comes in"})
    hash_key: str = field(default="", repr=False, metadata={"secret": True, "help": "the key of these hashes"})
    message_bytes: int = field(
        default=256_000, metadata={"unit": "bytes", "help": "bytes of lines in one Kafka message, about"}
    )
    max_body: int = field(default=1_073_741_824, metadata={"unit": "bytes", "help": "bytes of an upload as it comes"})
    max_inflated: int = field(default=1_073_741_824, metadata={"unit": "bytes", "help": "bytes of an upload when inflated"})
    max_ratio: int = field(
        default=400,
        metadata={"unit": "times", "help": "an upload that inflates to more times its size is refused, beyond 64 MB"},
    )
    max_uploads: int = field(
        default=16, metadata={"unit": "uploads", "help": "uploads at a time; others are asked to come again"}
    )
    max_in_flight: int = field(
        default=2_147_483_648,
        metadata={
            "unit": "bytes",
            "help": "bytes of all uploads at a time, as they come; they wait in the folder for temporary files",
        },
    )
    remember: int = field(
        default=0, metadata={"unit": "uploads", "help": "uploads whose repeats are known and not sent on again"}
    )
    threads: int = field(default=2, metadata={"unit": "threads", "help": "uploads that are inflated and sent on at a time"})
    idle_timeout_ms: int = field(
        default=20_000, metadata={"duration": True, "help": "a client that sends nothing this long is cut off"}
    )
    min_rate: int = field(
        default=65_536,
        metadata={"unit": "bytes/s", "help": "bytes a second; a slower client is cut off after the idle timeout"},
    )
    ack_timeout_ms: int = field(
        default=30_000, metadata={"duration": True, "help": "how long Kafka may take to confirm an upload"}
    )
    retry_after_ms: int = field(
        default=10_000, metadata={"duration": True, "help": "when to come again, as told under pressure"}
    )
    grace_ms: int = field(default=40_000, metadata={"duration": True, "help": "how long uploads may take to end after SIGTERM"})
    tls_certificate: str = field(default="", metadata={"help": "file with the certificate chain (PEM); empty: plain HTTP"})
    tls_key: str = field(default="", metadata={"help": "file with its key (PEM)"})
    proxies: tuple[str, ...] = field(default=(), metadata={"help": "proxies whose X-Forwarded-For is believed, for the log"})
    client: dict[str, str | int | float | bool] = field(
        default_factory=dict, repr=False, metadata={"secret": True, "help": "librdkafka settings besides [input.kafka.client]"}
    )

    @property
    def address(self) -> tuple[str, int]:
        """Give host and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if not re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^\s/:\[\]]+):\d{1,5}", self.listen):
            yield "listen", f"{self.listen!r} is not host:port"
        elif not self.secrets and not _is_loopback(self.address[0]):
            yield "listen", f"{self.listen} can be reached from other machines: give [receive].secrets"
        yield from self._wrong_secrets()
        yield from self._wrong_sizes()
        yield from self._wrong_paths()

    def _wrong_paths(self) -> Iterable[tuple[str, str]]:
        for key, paths in (("drop", self.drop), ("hash", self.hash_)):
            for path in paths:
                try:
                    steps = RecordPath.parse(path).steps
                except ValueError as error:
                    yield key, str(error)
                else:
                    if any(isinstance(step, int) and step < 0 for step in steps):
                        yield key, f"{path!r}: a number of elements is nothing personal"
        if self.hash_ and len(self.hash_key) < _SHORTEST_SECRET:
            yield "hash_key", f"hash needs a key of at least {_SHORTEST_SECRET} characters"

    def _wrong_secrets(self) -> Iterable[tuple[str, str]]:
        if not _TOKEN.fullmatch(self.header):
            yield "header", f"{self.header!r} is no name of a header"
        if any(len(secret) < _SHORTEST_SECRET or not secret.isascii() for secret in self.secrets):
            yield "secrets", f"a secret has at least {_SHORTEST_SECRET} characters, ASCII all"
        if bool(self.tls_certificate) != bool(self.tls_key):
            yield "tls_certificate", "tls_certificate and tls_key go together"

    def _wrong_sizes(self) -> Iterable[tuple[str, str]]:
        if not 0 < self.message_bytes <= _LARGEST_MESSAGE:
            yield "message_bytes", f"must be 1 to {_LARGEST_MESSAGE}"
        for key in ("max_body", "max_inflated", "max_ratio", "max_uploads", "max_in_flight", "threads", "min_rate"):
            if getattr(self, key) < 1:
                yield key, "must be at least 1"
        if self.remember < 0:
            yield "remember", "must be 0 or more"
        if self.max_body > self.max_in_flight:
            yield "max_in_flight", "must hold at least one upload of max_body"
        for key in ("idle_timeout", "ack_timeout", "retry_after"):
            if getattr(self, f"{key}_ms") < _SECOND_MS:
                yield key, 'must be at least "1s"'


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
