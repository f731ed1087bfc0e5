"""Generate: synthetic traffic to files or to Kafka, with progress and a word on what was written."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from connectors.producer import TOPICS, ProduceError, live, produce
from connectors.traffic import Traffic, TrafficOptions, write_archive
from flows.as_json import print_json
from flows.bar import Bar

_FAILED, _BAD_USE = 1, 2


def generate_files(  # noqa: PLR0913 (the choices of one command)
    directory: Path, *, hours: float, seed: int, records: int | None, rounds: int = 1, script: str = "", as_json: bool = False
) -> int:
    """Write Logpush files and the labels of the incidents; gives the exit code."""
    written = [0]

    def advance(done: int, _: int) -> None:
        written[0] = done
        bar.advance(done)

    try:
        traffic = Traffic(replace(_options(hours, seed, records), rounds=rounds, script=script))
        with Bar("writing files", traffic.total) as bar:
            incidents = write_archive(traffic, directory, advance)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"edgewatch: {directory}: {error}" + "\n")
        return _FAILED if isinstance(error, OSError) else _BAD_USE
    if as_json:
        found = [{"incident": each.label, "rule": each.rule, "key": each.key} for each in incidents]
        print_json({"folder": str(directory), "records": written[0], "incidents": found})
        return 0
    sys.stdout.write(f"{written[0]:,} records in {directory}, incidents.csv beside them:" + "\n")
    for incident in incidents:
        sys.stdout.write(f"  {incident.label}: {incident.rule} {incident.key}".rstrip() + "\n")
    sys.stdout.write(f"replay them: edgewatch replay -c monitor.toml --source archive:{directory} --out out" + "\n")
    return 0


def generate_to_kafka(  # noqa: PLR0913 (the choices of one command)
    brokers: Sequence[str],
    client: Mapping[str, str | int | float | bool],
    topics: Mapping[str, str],
    *,
    hours: float,
    seed: int,
    records: int | None,
    rate: float | None,
    batch: int,
    script: str = "",
    as_json: bool = False,
) -> int:
    """Produce to `topics` (dataset -> topic), or the usual ones: live at a rate, or history as fast as it goes."""
    try:
        traffic = Traffic(replace(_options(hours, seed, records), script=script))
        traffic = live(traffic, rate) if rate is not None else traffic
        settings = {name: str(value) for name, value in client.items()}
        with Bar("producing", traffic.total) as bar:
            sent = produce(
                traffic,
                brokers,
                {dataset: topics.get(dataset, TOPICS[dataset]) for dataset in traffic.datasets},
                rate=rate,
                batch=batch,
                client=settings,
                progress=lambda done, _: bar.advance(done),
            )
    except ProduceError as error:
        sys.stderr.write(f"edgewatch: {error}" + "\n")
        return _FAILED
    except ValueError as error:
        sys.stderr.write(f"edgewatch: {error}" + "\n")
        return _BAD_USE
    if as_json:
        print_json({"brokers": list(brokers), "records": sent.records, "messages": sent.messages})
        return 0
    sys.stdout.write(f"{sent.records:,} records in {sent.messages:,} messages to Kafka at {', '.join(brokers)}" + "\n")
    return 0


def _options(hours: float, seed: int, records: int | None) -> TrafficOptions:
    options = TrafficOptions(seed=seed, hours=hours)
    return options if records is None else replace(options, records_per_second=records / (hours * 3600))
