"""The log lines that edgewatch writes and reads: the seed's fields and levels, and what production leaves out."""

import io
import json
import logging
import subprocess
import sys

import pytest

from connectors.dataset import DatasetOptions, build_dataset
from connectors.decoder import Decoder
from connectors.structured_log import LEVELS, LineFormatter, level_name, set_up
from tests.runs import ROOT

CONTEXT = {"service": "billing", "version": "1.2.3", "environment": "staging"}


@pytest.fixture
def root():
    logger = logging.getLogger()
    before = logger.level, list(logger.handlers)
    yield logger
    logger.setLevel(before[0])
    logger.handlers[:] = before[1]


def logged(environment, *, level="debug"):
    """Set up logging and give the logger, and what reads the lines so far."""
    stream = io.StringIO()
    set_up(service="billing", version="1.2.3", environment=environment, level=level, stream=stream)
    return logging.getLogger("billing.pay"), lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_the_fields_of_the_platforms_logger(root):
    log, lines = logged("staging")
    log.warning("paid %d", 3, extra={"cf": {"ray": "8f1a", "colo": "DUB"}, "orderId": "17"})
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "warn",
        "levelValue": 30,
        "message": "paid 3",
        "logger": "billing.pay",
        "orderId": "17",
        **CONTEXT,
        "cf": {"ray": "8f1a", "colo": "DUB"},
    }


def test_levels_have_the_names_and_values_of_the_platform(root):
    log, lines = logged("staging")
    for number in (10, 20, 25, 30, 40, 50, 60):
        log.log(number, "x")
    got = [(line["level"], line["levelValue"]) for line in lines()]
    assert got[:2] == [("debug", 10), ("info", 20)]
    assert got[2:] == [("info", 20), ("warn", 30), ("error", 40), ("critical", 50), ("critical", 50)]
    assert {level_name(value): value for value in LEVELS.values()} == LEVELS


@pytest.mark.parametrize(("environment", "stacks", "debugs"), [("production", [False, True], 0), ("staging", [True, True], 1)])
def test_production_has_no_debug_lines_and_stacks_at_critical_alone(root, environment, stacks, debugs):
    log, lines = logged(environment)
    log.debug("quiet")
    log.error("an error", exc_info=KeyError("lost"))
    log.critical("worse", exc_info=KeyError("lost"))
    found = lines()
    assert [line["error"]["name"] for line in found if "error" in line] == ["KeyError", "KeyError"]
    assert ["KeyError: 'lost'" in line["error"].get("stack", "") for line in found if "error" in line] == stacks
    assert sum(line["level"] == "debug" for line in found) == debugs


def test_what_is_given_beside_never_takes_the_place_of_a_fixed_field_and_everything_can_be_written(root):
    log, lines = logged("staging")
    loop: dict = {}
    loop["self"] = loop
    extra = {"level": "debug", "service": "other", "x": float("nan"), "y": {1}, "z": loop, "s": "\ud800", "cfRay": "ab"}
    log.error("told", extra=extra)
    (line,) = lines()
    assert (line["level"], line["service"], line["x"], line["y"], line["s"], line["cf"]) == (
        *("error", "billing", None, [1], "?"),
        {"ray": "ab"},
    )
    assert line["z"]["self"]["self"]


def test_secrets_are_taken_out_of_message_error_and_what_stands_beside():
    formatter = LineFormatter(**CONTEXT, scrub=lambda text: text.replace("planted", "***"))
    record = logging.makeLogRecord({"msg": "a planted word", "levelno": 40, "note": {"deep": ["planted"]}, "name": "n"})
    record.exc_info = (ValueError, ValueError("planted too"), None)
    assert "planted" not in formatter.format(record)


def test_what_is_written_is_read_as_app_logs(root):
    log, _ = logged("staging")
    handler = root.handlers[0]
    log.setLevel("DEBUG")
    log.critical("stopped", exc_info=ValueError("user 17 is gone"), extra={"cf": {"ray": "8f1a", "colo": "DUB"}})
    line = handler.stream.getvalue().encode()
    dataset = build_dataset(DatasetOptions(name="app_logs", kind="app_logs"))
    names = ("level", "service", "version", "environment", "colo", "error_name", "error_message", "fingerprint", "levelValue")
    found = Decoder(dataset, frozenset(names)).decode([line])
    assert (len(found.times), found.refusals, list(found.identity)) == (1, [], ["8f1a"])
    read = {name: column.vocabulary[0] for name, column in found.strings.items()}
    assert read == {
        "level": "critical",
        **CONTEXT,
        "colo": "DUB",
        "error_name": "ValueError",
        "error_message": "user 17 is gone",
        "fingerprint": "user :n is gone",
    }
    assert found.numbers["levelValue"].tolist() == [50.0]


def test_it_imports_nothing_but_the_standard_library():
    program = (
        "import sys; before = set(sys.modules); import connectors.structured_log;"
        " print(sorted({n.split('.')[0] for n in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['connectors']"


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="'loud' is not one of debug, info, warn, error, critical"):
        set_up(**CONTEXT, level="loud")
