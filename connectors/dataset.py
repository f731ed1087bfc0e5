"""Dataset: what one kind of record holds (fields and their kinds, event time, identity) and the registry of kinds.

A dataset is data, not code: the decoder is built from it and from the fields that the configuration uses.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from connectors import data_points, http_requests

FieldKind = Literal["number", "string", "flag"]


class DecodeError(Exception):
    """Bytes that are no record: the reason goes to the dead letter; the flow goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOptions:
    """One `[[dataset]]` table: a name for records of one kind, with the names of their positions."""

    NOT_YET = ("dedup", "rename")

    name: str = field(metadata={"help": "the name that topics and metrics use"})
    kind: str = field(metadata={"help": "http_requests or data_points"})
    blobs: tuple[str, ...] = field(default=(), metadata={"help": "names of a data point's blobs, by position"})
    doubles: tuple[str, ...] = field(default=(), metadata={"help": "names of a data point's doubles, by position"})
    indexes: tuple[str, ...] = field(default=(), metadata={"help": "names of a data point's indexes, by position"})
    event_time: tuple[str, ...] = field(default=(), metadata={"help": "time fields, tried in order"})

    def problems(self) -> Iterable[tuple[str, str]]:
        """Yield (key, problem) for what the types cannot say."""
        if self.kind not in DATASETS:
            yield "kind", f"{self.kind!r} is not a kind of dataset; allowed: {', '.join(sorted(DATASETS))}"
            return
        positions = (*self.blobs, *self.doubles, *self.indexes)
        if self.kind != "data_points" and positions:
            yield "blobs", "only data_points have blobs, doubles and indexes"
        for name in sorted({name for name in positions if positions.count(name) > 1}):
            yield "blobs", f"the name {name!r} is given to two positions"
        for name, limit in (("blobs", 20), ("doubles", 20)):
            if len(getattr(self, name)) > limit:
                yield name, f"a data point has {limit} {name} at most"


@dataclass(frozen=True, slots=True)
class Field:
    """Where a column is read from: the record's keys in order of preference, or a position in an array field."""

    kind: FieldKind
    keys: tuple[str, ...]
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """One configured dataset: its columns by name, and what else the line must know about its records."""

    name: str
    kind: str
    event_time: tuple[str, ...]
    fields: Mapping[str, Field]
    predicates: Mapping[str, str]  # name -> expression text
    identity: str | None  # the field that names a record to a person, as the ray id does
    folded: frozenset[str] = frozenset()  # strings whose case carries nothing
    paths: frozenset[str] = frozenset()  # strings that are templated before they may be a group key
    dimensions: Mapping[str, Field] = field(default_factory=dict)  # what bad records are told apart by, by name

    @property
    def kinds(self) -> dict[str, FieldKind]:
        """Give the kind of every column by name."""
        return {name: column.kind for name, column in self.fields.items()}


def build_dataset(options: DatasetOptions) -> Dataset:
    """Make the dataset that `options` describe; the kind must be in DATASETS."""
    return DATASETS[options.kind](options)


def _http_requests(options: DatasetOptions) -> Dataset:
    fields = {name: Field(kind, (name,)) for name, kind in http_requests.FIELDS.items()}
    fields |= {name: Field("string", keys) for name, keys in http_requests.ALTERNATIVES.items()}
    dimensions = {name: Field(fields[keys[0]].kind, keys) for name, keys in http_requests.DIMENSIONS.items()}
    return Dataset(
        name=options.name,
        kind=options.kind,
        event_time=options.event_time or http_requests.EVENT_TIME,
        fields=fields,
        predicates=http_requests.PREDICATES,
        identity=http_requests.IDENTITY,
        folded=http_requests.FOLDED,
        paths=http_requests.PATHS,
        dimensions=dimensions,
    )


def _data_points(options: DatasetOptions) -> Dataset:
    fields: dict[str, Field] = {}
    for array, kind in data_points.ARRAYS.items():
        for position, name in enumerate(getattr(options, array)):
            fields[name] = Field(kind, (array,), position)
    identity = next((name for name in data_points.IDENTITIES if name in fields), None)
    return Dataset(
        name=options.name,
        kind=options.kind,
        event_time=options.event_time or data_points.EVENT_TIME,
        fields=fields,
        predicates={},
        identity=identity,
        paths=frozenset(fields) & data_points.PATHS,
        dimensions={n: column for n, column in fields.items() if n in data_points.DIMENSIONS and column.kind == "string"},
    )


DATASETS = {"http_requests": _http_requests, "data_points": _data_points}
