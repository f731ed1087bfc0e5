"""Inputs: the source of a run, opened as its spec says, with the columns that the line needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from connectors.archive import ArchiveSource, Reading, datasets_in
from connectors.archive import what_is_there as in_archive
from connectors.plan import read_plan
from connectors.source import Source, SourceError
from connectors.steady_clock import SteadyClock
from flows.config import Config
from flows.line import Line, build_line
from flows.run_folder import RunFolder, RunSpec

ARCHIVE = "archive:"
_CHUNK_RECORDS = 10_000
_LOOK_S = 5.0


def archive_datasets(config: Config, spec: RunSpec) -> list[str] | None:
    """Give the datasets of an archive run (what the folder holds of what is configured); None for Kafka: its topics'."""
    if not spec.source.startswith(ARCHIVE):
        return None
    topics = list(dict.fromkeys(config.topic_datasets().values()))
    measured = topics or list(dict.fromkeys(metric.dataset for metric in config.metrics))
    return datasets_in(Path(spec.source.removeprefix(ARCHIVE)), measured)


def open_source(config: Config, line: Line, spec: RunSpec, clock: SteadyClock | None = None) -> Source:
    """Plan the input of a run, or take up the plan in its folder; live lanes go by `clock`. Raises SourceError."""
    window, lateness = config.window, spec.allowed_lateness_ms
    reading = Reading(
        datasets=line.datasets,
        fields=line.fields(),
        pane_ms=window.pane_ms,
        length_ms=window.length_ms,
        allowed_lateness_ms=window.allowed_lateness_ms if lateness is None else lateness,
        max_ahead_ms=window.max_ahead_ms,
        chunk_records=config.kafka.poll_records if config.kafka else _CHUNK_RECORDS,
        start=spec.start,
        end=spec.end,
        lateness=own_lateness(config) if lateness is None else {},
    )
    folder = Path(spec.state)
    if spec.source.startswith(ARCHIVE):
        return ArchiveSource(Path(spec.source.removeprefix(ARCHIVE)), reading, folder)
    if config.kafka is None:
        raise SourceError(f"{config.source} has no [input.kafka]; add it, or give --source archive:DIR")
    from connectors.kafka import KafkaSource  # noqa: PLC0415  (an archive needs no Kafka client)
    from flows.recorded import recorded_in  # noqa: PLC0415

    options = config.kafka if lateness is None else config.kafka.with_lateness(lateness)
    begin = "earliest" if spec.mode == "replay" else None  # a replay takes all that is there
    return KafkaSource(
        options,
        reading,
        folder,
        live=spec.mode == "live",
        idle_after_ms=window.idle_after_ms,
        begin=begin,
        recorded=recorded_in(RunFolder.at(folder)) if spec.recorded else None,
        clock=clock,
    )


def own_lateness(config: Config) -> dict[str, int]:
    """Give the allowed lateness (ms) of datasets whose topics have their own: a folder's files are of any of them."""
    usual = config.window.allowed_lateness_ms
    found: dict[str, int] = {}
    for topic in config.kafka.topic_options().values() if config.kafka else ():
        own = usual if topic.allowed_lateness_ms is None else topic.allowed_lateness_ms
        found[topic.dataset] = max(own, found.get(topic.dataset, 0))
    return {dataset: own for dataset, own in found.items() if own != usual}


def not_read(config: Config, spec: RunSpec) -> list[str]:
    """Give the partitions that topics have got since a bounded run was planned; nothing where that cannot be known now."""
    if spec.source.startswith(ARCHIVE) or config.kafka is None:
        return []
    from connectors.kafka import look_at_partitions  # noqa: PLC0415  (an archive needs no Kafka client)

    try:
        there = look_at_partitions(config.kafka, allowed_lateness_ms=0, timeout_s=_LOOK_S)
    except SourceError:
        return []
    planned = {each.name for each in read_plan(Path(spec.state) / "plan.json").partitions}
    return [each.name for each in there if each.name not in planned]


def empty_words(config: Config, spec: RunSpec, summary: Mapping[str, Any]) -> str:
    """Say that a range had no window, and what there is instead."""
    first, last = (summary[name] for name in ("first_event", "last_event"))
    read = f"records that were read are from {first} to {last}" if first else "no record was read"
    words = f"no window in the range has a record; {read}"
    there: list[str] = []
    if spec.source.startswith(ARCHIVE):
        there = in_archive(Path(spec.source.removeprefix(ARCHIVE)), build_line(config, archive_datasets(config, spec)).datasets)
    elif config.kafka is not None:
        from connectors.kafka_extent import what_is_there  # noqa: PLC0415  (an archive needs no Kafka client)

        there = what_is_there(config.kafka, read_plan(Path(spec.state) / "plan.json").partitions)
    return f"{words}. What is there: {'; '.join(there)}" if there else words
