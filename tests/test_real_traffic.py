"""Real traffic: access logs replayed as Logpush records against counts of their lines, and faults of a real application.

The lines are counted here with a reading of their own, from the files of `data`, whose READMEs name their sources.
"""

import gzip
import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests import access_logs
from tests.runs import checked

pytestmark = pytest.mark.slow

DATA = Path(__file__).parent / "data"
ACCESS, PETSHOP = DATA / "access", DATA / "petshop"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LENGTH = 300  # seconds of a window


def unpacked(name):
    return gzip.decompress((ACCESS / name).read_bytes()).decode().splitlines()


def nasa():
    """Give (second, client, status, bytes) of the lines of the NASA log."""
    for line in unpacked(access_logs.NASA)[1:]:
        client, _, second, _, _, status, size = line.rstrip("\t").split("\t")
        yield int(second), client, int(status), int(size)


def semicomplete():
    """Give (second, client, status, bytes) of the lines of the Apache log: all of them are of May 2015, in UTC."""
    for line in unpacked(access_logs.SEMICOMPLETE):
        client, rest = line.split(" ", 1)
        day, hour, minute, second = (int(part) for part in rest[rest.index("[") + 1 :][:20].replace("/May/2015", "").split(":"))
        status, size = rest[rest.index('" ') + 2 :].split(" ")[:2]
        when = datetime(2015, 5, day, hour, minute, second, tzinfo=UTC)
        yield int((when - EPOCH).total_seconds()), client, int(status), 0 if size == "-" else int(size)


def counted(lines):
    """Count lines by window of 5 minutes: what each metric of `data/access/monitor.toml` should say of it, by its start."""
    windows = defaultdict(list)
    for second, *rest in lines:
        windows[second - second % LENGTH].append(rest)
    out = {}
    for start, rows in windows.items():
        of = Counter(status for _, status, _ in rows)
        out[(EPOCH + timedelta(seconds=start)).strftime("%Y-%m-%dT%H:%M:%SZ")] = {
            ("requests", "count"): len(rows),
            ("error_rate", "ratio"): sum(n for status, n in of.items() if status >= 400) / len(rows),
            ("not_found", "ratio"): of[404] / len(rows),
            ("redirected", "ratio"): (of[301] + of[302]) / len(rows),
            ("unchanged", "ratio"): of[304] / len(rows),
            ("clients", "distinct"): len({client for client, _, _ in rows}),
            ("bytes", "sum"): sum(size for _, _, size in rows),
        }
    return out


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Give a folder with the records of both logs, and their replays in it."""
    folder = tmp_path_factory.mktemp("logs")
    access_logs.write(folder)
    for name in ("nasa", "semicomplete"):
        source = f"archive:{folder / name}"
        checked("replay", "-c", ACCESS / "monitor.toml", "--source", source, "--out", folder / f"{name}-history")
    return folder


def backtest(config, history, out, *options):
    checked("backtest", "-c", config, "--source", f"windows:{history}", "--out", out, *options)
    return json.loads((out / "backtest.json").read_bytes())


@pytest.mark.parametrize(("name", "lines", "windows"), [("nasa", nasa, 44), ("semicomplete", semicomplete, 84)])
def test_windows_of_an_access_log_are_the_counts_of_its_lines(logs, name, lines, windows):
    want = counted(lines())
    got: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for row in read(logs / f"{name}-history" / "windows.ndjson"):
        figure = row["metric"], row["statistic"]
        if row["key"] == {} and figure in want[row["window_start"]]:
            got[row["window_start"]][figure] = row["value"]
    assert got == want
    assert len(got) == windows
    summary = json.loads((logs / f"{name}-history" / "summary.json").read_bytes())
    assert (summary["records"], summary["late"], summary["dead_letters"]) == (sum(1 for _ in lines()), 0, 0)


@pytest.mark.parametrize("name", ["nasa", "semicomplete"])
def test_a_backtest_of_an_access_log_says_what_its_replay_said(logs, tmp_path, name):
    figures = backtest(ACCESS / "monitor.toml", logs / f"{name}-history", tmp_path / "out")
    assert (tmp_path / "out" / "transitions.ndjson").read_bytes() == (
        logs / f"{name}-history" / "transitions.ndjson"
    ).read_bytes()
    said = read(logs / f"{name}-history" / "notifications.ndjson")
    assert figures["notifications"]["total"] == len(said) > 0


def test_the_warnings_of_the_nasa_log_are_where_its_lines_have_errors(logs):
    rows = [row for row in read(logs / "nasa-history" / "evaluations.ndjson") if row["rule"] == "high_error_rate"]
    breached = {row["window_end"] for row in rows if row["level"] == "warning"}
    want = counted(nasa())
    ends = {each["window_start"]: each["window_end"] for each in read(logs / "nasa-history" / "windows.ndjson")}
    over = {
        ends[start] for start, each in want.items() if each["error_rate", "ratio"] > 0.01 and each["requests", "count"] >= 100
    }
    assert breached == over
    assert len(over) > 0


def test_of_83_silent_hours_one_alert_speaks_and_the_other_names_the_one_that_kept_it_quiet(logs, tmp_path):
    backtest(ACCESS / "monitor.toml", logs / "semicomplete-history", tmp_path / "out")
    quiet = read(tmp_path / "out" / "withheld.ndjson")
    got = {(each["rule"], each["suppressed_by"], each["why"]) for each in quiet}
    why = "silent (critical), which says for all that the whole source is silent"
    assert got == {("no_data:high_error_rate", "inhibit", why)}
    assert len(quiet) == 83  # between 84 hours that each have lines in five minutes
    said = Counter(each["rule"] for each in read(logs / "semicomplete-history" / "notifications.ndjson"))
    assert (said["silent"], said["no_data:high_error_rate"]) == (2 * 83, 0)


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """Give a folder with replays of the three parts of the shop's series."""
    folder = tmp_path_factory.mktemp("petshop")
    for name in ("high_traffic", "temporal_traffic", "normal"):
        source = f"archive:{PETSHOP / name}"
        checked("replay", "-c", PETSHOP / "monitor.toml", "--source", source, "--out", folder / name)
    return folder


def test_limits_that_were_fitted_on_some_faults_find_others_and_page_less_when_nothing_is_wrong(faults, tmp_path):
    labels = ("--labels", PETSHOP / "incidents.csv")
    sweep = []
    for axis in ("slow.above.critical=0.11:0.16:0.005", "unavailable.below.critical=96:99:0.5"):
        sweep += ["--sweep", axis]
    for rule in ("slow", "unavailable"):
        sweep += ["--sweep", f"{rule}.for.critical=1,2"]
    swept = backtest(PETSHOP / "monitor.toml", faults / "high_traffic", tmp_path / "swept", *labels, *sweep)
    found, advice = swept["labels"]["paged"]["recall"], swept["sweep"]["recommendation"]
    assert (found["k"], found["n"]) == (20, 26)
    assert [(advice[part]["recall"]["k"], advice[part]["recall"]["n"]) for part in ("fit", "held_out")] == [(13, 15), (9, 11)]
    pages = []
    for config in (PETSHOP / "monitor.toml", tmp_path / "swept" / "recommended.toml"):
        other = backtest(config, faults / "temporal_traffic", tmp_path / "other", *labels)["labels"]["paged"]["recall"]
        assert (other["k"], other["n"]) == (7, 8)
        pages.append(backtest(config, faults / "normal", tmp_path / "normal")["pages"]["total"])
    assert pages == [5, 1]
