"""What is shown of a run as it goes: how much of a bounded input is done, and how long it takes yet."""

import pytest

from connectors.archive import ArchiveSource
from flows.board import Board
from flows.observe import RunProgress, _left
from tests.connectors.test_archive import line, reading


def test_the_share_is_known_once_every_lane_has_begun(tmp_path):
    board = Board(tmp_path / "board", ["a", "b"])
    board.place("a", (30, 100))
    assert board.share() is None
    board.place("b", (10, 100))
    assert board.share() == 0.2
    assert Board(tmp_path / "board", ["a", "b"]).share() == 0.2  # another process sees it too


def test_a_partition_without_a_record_holds_no_share_back(tmp_path):
    board = Board(tmp_path / "board", ["a", "b"])
    board.place("a", (30, 100))
    board.place("b", (0, 0))
    assert board.share() == 0.3


def test_a_live_run_has_no_share(tmp_path):
    board = Board(tmp_path / "board", ["a"])
    board.place("a", (0, 0))
    assert board.share() is None


@pytest.mark.parametrize(
    ("share", "first", "seconds", "want"),
    [
        (0.5, 0.0, 60.0, ", 0:01:00 left"),
        (0.75, 0.5, 10.0, ", 0:00:10 left"),
        (None, 0.0, 9.0, ""),
        (0.2, 0.2, 9.0, ""),
        (1.0, 0.0, 9.0, ""),
    ],
)
def test_what_is_left_is_told_by_the_pace_since_the_start(share, first, seconds, want):
    assert _left(share, first, seconds) == want


def test_a_line_without_a_terminal_has_all_of_it(capsys, monkeypatch):
    monkeypatch.setattr("flows.observe._EVERY_S", 0.0)
    progress = RunProgress("replay")
    progress(100, 1_764_547_200_000, 0.25)
    shown = capsys.readouterr().err
    assert shown.startswith("replay: 100 records, at 2025-12-01T00:00:00Z, ")
    assert ", 25% done" in shown


def test_before_the_first_record_there_is_no_speed(capsys, monkeypatch):
    monkeypatch.setattr("flows.observe._EVERY_S", 0.0)
    progress = RunProgress("replay")
    progress(0, None)
    progress.begin("windows")
    progress(0, 1_764_547_200_000, 0.9)
    progress(10, 1_764_547_200_000, 0.2)  # another step began
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["replay: no records yet", "replay: at 2025-12-01T00:00:00Z, 90% done"]
    assert lines[2] == "replay: 10 windows, at 2025-12-01T00:00:00Z, 0 windows/s, 20% done"


def test_an_archive_counts_the_bytes_of_its_files(tmp_path):
    root = tmp_path / "logs"
    root.mkdir()
    (root / "a.ndjson").write_bytes(b"\n".join(line(n) for n in range(50)))
    (root / "b.ndjson").write_bytes(b"\n".join(line(n) for n in range(50, 90)))
    state = tmp_path / "state"
    state.mkdir()
    source = ArchiveSource(root, reading(), state)
    lane = source.open(source.lanes()[0], None)
    size = sum(path.stat().st_size for path in root.iterdir())
    assert lane.place() == (0, size)
    places = []
    while not lane.done:
        lane.read()
        places.append(lane.place())
    assert places == sorted(places)
    assert places[-1] == (size, size)


def test_a_bar_comes_also_where_how_much_there_is_was_not_known_at_first(capsys, monkeypatch):
    monkeypatch.setattr("flows.observe._AFTER_S", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, for the console
    progress = RunProgress("replay")
    progress(100, 1_764_547_200_000)  # not every process has opened its partitions
    progress(200, 1_764_547_200_000, 0.25)
    progress.stop()
    shown = capsys.readouterr().err
    assert "replay: 200 records" in shown
    assert "25%" in shown
