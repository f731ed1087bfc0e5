"""What a run says of itself: whether it is ready, as Prometheus reads it, and on a terminal of 80 columns."""

import io

from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from flows.exposition import exposed
from flows.self_report import AlertReport, DatasetReport, DestinationReport, PartitionReport, SelfReport, unready
from flows.top import Top, sparkline

NOW = 1_764_547_200_000
PARTITION = PartitionReport(
    topic="t", partition="0", dataset="d", position=90, end=100, watermark=NOW - 5000, records=1000, late=10, dead=1
)
DESTINATION = DestinationReport(
    destination="slack", queued=2, oldest_s=30.0, attempts=5, delivered=3, dead=1, down_s=None, last_error=""
)
ALERT = AlertReport(
    rule="failing", state="firing", start=NOW - 60_000, labels={"severity": "critical", "host": "\x1b[31m[red]a"}
)
REPORT = SelfReport(
    at=NOW,
    version="abc",
    environment="test",
    uptime_s=60.0,
    idle_s=0.1,
    snapshot_s=None,
    blind=(),
    partitions=(PARTITION,),
    datasets=(DatasetReport(dataset="d", closed=NOW - 9000, firing={"critical": 1}),),
    alerts=(ALERT,),
    destinations=(DESTINATION,),
)


def samples(report):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposed(report).decode())
        for sample in family.samples
    }


def shown(report, *, before=None):
    top = Top(hang_after_s=60.0)
    for each in (before, report):
        if each is not None:
            top.take(each)
    out = io.StringIO()
    Console(file=out, width=80).print(top.draw())
    return out.getvalue()


def test_prometheus_reads_names_with_units_and_what_is_unknown_is_left_out():
    found = samples(REPORT)
    place = (("dataset", "d"), ("partition", "0"), ("topic", "t"))
    assert found["edgewatch_lag_messages", place] == 10
    assert found["edgewatch_watermark_delay_seconds", place] == 5
    assert (found["edgewatch_records_total", place], found["edgewatch_late_records_total", place]) == (1000, 10)
    assert found["edgewatch_barrier_age_seconds", (("dataset", "d"),)] == 9
    assert found["edgewatch_spool_oldest_seconds", (("destination", "slack"),)] == 30
    assert found["edgewatch_alerts_firing", (("dataset", "d"), ("severity", "critical"))] == 1
    unknown = replace(REPORT, partitions=(replace(PARTITION, end=None, watermark=None),))
    gone = found.keys() - samples(unknown).keys()
    assert {name for name, _ in gone} == {"edgewatch_lag_messages", "edgewatch_watermark_delay_seconds"}
    assert samples(replace(REPORT, snapshot_s=7.0))["edgewatch_snapshot_age_seconds", ()] == 7


def test_a_run_is_ready_unless_it_is_blind_hangs_or_cannot_deliver():
    down = replace(DESTINATION, down_s=12.0, last_error="slack: HTTP 500")
    cases = {
        "": REPORT,
        "blind: lag on d": replace(REPORT, blind=("lag on d",)),
        "no progress for 61 s": replace(REPORT, idle_s=61.0),
        "the broker has not answered yet": replace(REPORT, partitions=(replace(PARTITION, end=None),)),
        "slack is down, 2 waiting: slack: HTTP 500": replace(REPORT, destinations=(down,)),
    }
    assert {"; ".join(unready(report, hang_after_s=60.0)) for report in cases.values()} == cases.keys()


def test_the_terminal_shows_rates_and_no_line_is_longer_than_80():
    earlier = replace(REPORT, at=NOW - 2000, partitions=(replace(PARTITION, records=0),))
    got = shown(REPORT, before=earlier)
    assert "500 records/s" in got
    assert "failing" in got
    assert max(map(len, got.splitlines())) <= 80


def test_a_terminal_of_24_rows_holds_all_of_it_however_long_it_was_watched_and_however_much_fires():
    busy = replace(
        REPORT,
        alerts=(ALERT,) * 30,
        datasets=tuple(DatasetReport(dataset=f"d{number}", closed=NOW, firing={"critical": 10}) for number in range(3)),
        destinations=(DESTINATION,) * 3,
    )
    top = Top(hang_after_s=60.0)
    for number in range(200):
        parts = (replace(PARTITION, records=3_000_000 * number, end=90 + number),)
        top.take(replace(busy, at=NOW + 1000 * number, partitions=parts))
    out = io.StringIO()
    Console(file=out, width=80, height=24).print(top.draw(24))
    lines = out.getvalue().splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    flow, lag = lines[2:4]
    assert ("3,000,000 records/s" in flow, flow.count("█")) == (True, 56)
    assert ("199 waiting" in lag, lag[-1]) == (True, "█")


def test_what_logs_say_neither_colours_nor_moves_the_terminal():
    got = shown(REPORT)
    assert "[red]" in got
    assert "\x1b" not in got


def test_a_sparkline_goes_from_nothing_to_the_largest():
    assert (sparkline([0, 1, 2]), sparkline([0.0]), sparkline([])) == ("▁▅█", "▁", "")
