"""Dataset: what one kind of record holds (fields and their kinds, event time, identity) and the registry of kinds.

A dataset is data, not code: the decoder is built from it and from the fields that the configuration uses.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from connectors import app_logs, data_points, health, http_requests, runtime_stats, workers_trace_events
from connectors.record_path import Place, RecordPath, RecordShape

FieldKind = Literal["number", "string", "flag"]

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBERED = re.compile(r"-[0-9]+\Z")


class DecodeError(Exception):
    """Bytes that are no record: the reason goes to the dead letter; the flow goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOptions:
    """One `[[dataset]]` table: a name for records of one kind, and where their values stand."""

    name: str = field(metadata={"help": "the name that topics and metrics use"})
    kind: str = field(
        metadata={
            "help": "what it holds: http_requests, data_points, workers_trace_events, app_logs, health, runtime_stats or json"
        }
    )
    blobs: tuple[str, ...] = field(default=(), metadata={"help": "names of a data point's blobs, by position"})
    doubles: tuple[str, ...] = field(default=(), metadata={"help": "names of a data point's doubles, by position"})
    indexes: tuple[str, ...] = field(default=(), metadata={"help": "names of a data point's indexes, by position"})
    event_time: tuple[str, ...] = field(default=(), metadata={"help": "time fields, tried in order"})
    numbers: dict[str, str] = field(default_factory=dict, metadata={"help": "json: column = path of a number"})
    strings: dict[str, str] = field(default_factory=dict, metadata={"help": "json: column = path of a string"})
    flags: dict[str, str] = field(default_factory=dict, metadata={"help": "json: column = path of true or false"})
    identity: str = field(default="", metadata={"help": "json: the column that names a record to a person"})
    paths: tuple[str, ...] = field(default=(), metadata={"help": "json: columns that hold URL paths; their ids are one"})
    weight: str = field(default="", metadata={"help": "json: the number that says how many records each stands for"})
    csv: tuple[str, ...] = field(default=(), metadata={"help": "json: records are lines of CSV with these columns instead"})
    dedup: tuple[str, ...] = field(default=(), metadata={"help": "records alike in these fields and in time count once"})
    traces: bool = field(
        default=False,
        metadata={
            "help": "look for traceparent and sentry-trace in records that alerts show; app_logs and Workers events: always"
        },
    )
    rename: dict[str, str] = field(default_factory=dict, metadata={"help": "key or path in the record = the field it is"})

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
        yield from self._wrong_columns()
        yield from self._wrong_renames()
        known = self.columns() if self.kind == "json" else DATASETS[self.kind](replace(self, rename={})).fields
        for name in self.dedup:
            if name not in known:
                yield "dedup", f"no field {name!r}"

    def columns(self) -> dict[str, tuple[FieldKind, str]]:
        """Give the columns of a json dataset: name -> kind and path."""
        kinds: tuple[tuple[FieldKind, Mapping[str, str]], ...] = (
            ("number", self.numbers),
            ("string", self.strings),
            ("flag", self.flags),
        )
        return {name: (kind, path) for kind, given in kinds for name, path in given.items()}

    def _wrong_columns(self) -> Iterable[tuple[str, str]]:
        if self.kind != "json":
            for key in ("numbers", "strings", "flags", "identity", "paths", "weight", "csv"):
                if getattr(self, key):
                    yield key, "only json datasets name their columns"
            return
        if not self.event_time:
            yield "event_time", "is missing; where the time of a record stands, such as timestamp or meta.time"
        yield from self._wrong_names()
        for path in (*self.event_time, *(path for _, path in self.columns().values())):
            yield from self._wrong_path("event_time" if path in self.event_time else "numbers", path)

    def _wrong_names(self) -> Iterable[tuple[str, str]]:
        columns = self.columns()
        if len(columns) < len(self.numbers) + len(self.strings) + len(self.flags):
            yield "numbers", "a column has one kind only: number, string or flag"
        for name in sorted(columns):
            if not _COLUMN.fullmatch(name):
                yield "numbers", f"{name!r} is no name of a column: letters, digits and _"
        if self.weight and self.weight not in self.numbers:
            yield "weight", f"{self.weight!r} is none of the numbers"
        for key, names in (("identity", (self.identity,) if self.identity else ()), ("paths", self.paths)):
            for name in names:
                if name not in self.strings:
                    yield key, f"{name!r} is none of the strings"

    def _wrong_path(self, key: str, path: str) -> Iterable[tuple[str, str]]:
        if not self.csv:
            yield from _path_problem(key, path)
        elif path not in self.csv:
            yield "csv", f"there is no column {path!r}"

    def _wrong_renames(self) -> Iterable[tuple[str, str]]:
        if self.rename and self.kind in ("json", "data_points"):
            yield "rename", f"{self.kind} has no names of its own to rename: name the columns"
            return
        for key, name in self.rename.items():
            known = {*DATASETS[self.kind](replace(self, rename={})).fields, *DATASETS[self.kind](self).event_time}
            if name not in known:
                yield "rename", f"{key!r}: {self.kind} has no field {name!r}"
            if self.kind in _NESTED:
                yield from _path_problem("rename", key)


def _path_problem(key: str, path: str) -> Iterable[tuple[str, str]]:
    try:
        RecordPath.parse(path)
    except ValueError as error:
        yield key, str(error)


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
    places: Mapping[str, tuple[Place, ...]] = field(default_factory=dict)  # key -> where it stands, if not at the key
    csv: tuple[str, ...] = ()  # the columns, where records are lines of CSV
    dedup: tuple[str, ...] = ()  # what tells records apart, where repeats are dropped
    traced: bool = False  # whether a record may say which trace it belongs to
    weight: str = ""  # the number that says how many records each one stands for, where there is one
    topic_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # topic or ^pattern -> column -> value

    @property
    def kinds(self) -> dict[str, FieldKind]:
        """Give the kind of every column by name."""
        return {name: column.kind for name, column in self.fields.items()}

    @property
    def labels(self) -> frozenset[str]:
        """Give the columns that topics fill, not records."""
        return frozenset(name for each in self.topic_labels.values() for name in each)

    def label(self, name: str, topic: str) -> str | None:
        """Give what a topic says in a column."""
        return (self._said_of(topic) or {}).get(name)

    def topic_of(self, folder: str) -> str:
        """Give the topic that the folder of an archive's partition is named after: as it is, or with the partition behind."""
        return folder if self._said_of(folder) is not None else _NUMBERED.sub("", folder)

    def _said_of(self, topic: str) -> Mapping[str, str] | None:
        given = self.topic_labels.get(topic)
        if given is None:
            patterns = ((each, found) for each, found in self.topic_labels.items() if each.startswith("^"))
            given = next((found for each, found in patterns if re.match(each, topic)), None)
        return given


def build_dataset(options: DatasetOptions, topic_labels: Mapping[str, Mapping[str, str]] = MappingProxyType({})) -> Dataset:
    """Make the dataset that `options` describe, with columns that topics fill; the kind must be in DATASETS."""
    made = replace(DATASETS[options.kind](options), dedup=options.dedup, topic_labels=topic_labels)
    made = replace(made, traced=options.traces or options.kind in _TRACED)
    return replace(made, fields={**{name: Field("string", ()) for name in sorted(made.labels)}, **made.fields})


def _renamed(options: DatasetOptions, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Give the keys of a field, those that it was renamed to first."""
    return (*(key for key, name in options.rename.items() if name in keys), *keys)


def _http_requests(options: DatasetOptions) -> Dataset:
    fields = {name: Field(kind, (name,)) for name, kind in http_requests.FIELDS.items()}
    fields |= {name: Field("string", keys) for name, keys in http_requests.ALTERNATIVES.items()}
    fields = {name: Field(column.kind, _renamed(options, column.keys)) for name, column in fields.items()}
    dimensions = {name: Field(fields[keys[0]].kind, _renamed(options, keys)) for name, keys in http_requests.DIMENSIONS.items()}
    return Dataset(
        name=options.name,
        kind=options.kind,
        event_time=options.event_time or _renamed(options, http_requests.EVENT_TIME),
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
    fields[data_points.WEIGHT] = Field("number", (data_points.WEIGHT,))
    identity = next((name for name in data_points.IDENTITIES if name in fields), None)
    return Dataset(
        name=options.name,
        kind=options.kind,
        event_time=options.event_time or data_points.EVENT_TIME,
        fields=fields,
        predicates={},
        identity=identity,
        paths=frozenset(fields) & data_points.PATHS,
        weight=data_points.WEIGHT,
        dimensions={n: column for n, column in fields.items() if n in data_points.DIMENSIONS and column.kind == "string"},
    )


def _nested(options: DatasetOptions) -> Dataset:
    shape = _NESTED[options.kind]
    places: dict[str, tuple[Place, ...]] = {}
    times = {name: Place.at(name) for name in options.event_time} or shape.event_time
    for name, place in (*((n, p) for n, (_, p) in shape.fields.items()), *times.items()):
        given = tuple(Place((RecordPath.parse(key),), place.made) for key, known in options.rename.items() if known == name)
        places[name] = (*given, place, *((shape.fallbacks[name],) if name in shape.fallbacks else ()))
    fields = {name: Field(kind, (name,)) for name, (kind, _) in shape.fields.items()}
    return Dataset(
        name=options.name,
        kind=options.kind,
        event_time=tuple(times),
        fields=fields,
        predicates=shape.predicates,
        identity=shape.identity,
        folded=shape.folded,
        paths=shape.paths,
        dimensions={name: fields[name] for name in shape.dimensions},
        places=places,
    )


def _json(options: DatasetOptions) -> Dataset:
    """Make a dataset of columns that the configuration names; where all are plain keys it is read as fast as any other."""
    columns = options.columns()
    all_paths = (
        {path: RecordPath.parse(path) for path in (*(p for _, p in columns.values()), *options.event_time)}
        if not options.csv
        else {}
    )
    flat = all(path.is_key for path in all_paths.values())
    fields = {name: Field(kind, (path,)) for name, (kind, path) in columns.items()}
    return Dataset(
        name=options.name,
        kind=options.kind,
        event_time=options.event_time,
        fields=fields,
        predicates={},
        identity=options.identity or None,
        paths=frozenset(options.paths),
        dimensions={name: column for name, column in fields.items() if column.kind == "string" and name != options.identity},
        places={} if flat else {text: (Place((path,)),) for text, path in all_paths.items()},
        csv=options.csv,
        weight=options.weight,
    )


_NESTED: dict[str, RecordShape] = {
    "workers_trace_events": workers_trace_events.SHAPE,
    "app_logs": app_logs.SHAPE,
    "health": health.SHAPE,
    "runtime_stats": runtime_stats.SHAPE,
}

_TRACED = ("app_logs", "workers_trace_events")

DATASETS: dict[str, Callable[[DatasetOptions], Dataset]] = {
    "http_requests": _http_requests,
    "data_points": _data_points,
    "json": _json,
    **dict.fromkeys(_NESTED, _nested),
}
