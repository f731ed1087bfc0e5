"""Labels of topics: columns that a topic fills for all of its records, to group by and to ask for."""

import json

import numpy as np
import pytest

from connectors.dataset import DatasetOptions, build_dataset
from connectors.decoder import Decoder
from connectors.progress import NO_LIMIT, Chunk, Progress, Timing, read_batch
from flows.config import ConfigErrors, loads
from tests import runs
from tests.kafka import topics
from tests.kafka.topics import Sent

START_MS = 1_764_547_200_000
LABELS = {"a": {"zone": "eu", "tier": "paid"}, r"^logs\.": {"zone": "us"}}
TIMING = Timing(pane_ms=300_000, allowed_lateness_ms=60_000)
CONFIG = """
[input.kafka]
brokers = ["{brokers}"]
start = "earliest"
[input.kafka.topics]
"{eu}" = {{ dataset = "http_requests", labels = {{ zone = "eu" }} }}
"{us}" = {{ dataset = "http_requests", labels = {{ zone = "us" }} }}
"{other}" = "http_requests"

[[metric]]
name = "requests"
kind = "count"
dataset = "http_requests"
group_by = ["zone"]

[[metric]]
name = "elsewhere"
kind = "count"
dataset = "http_requests"
where = 'zone != "eu"'
"""


def line(n):
    return json.dumps({"RayID": f"{n:x}", "EdgeEndTimestamp": START_MS + n}).encode()


@pytest.mark.parametrize("native", [False, None])
def test_each_record_has_the_labels_of_its_topic(native):
    dataset = build_dataset(DatasetOptions(name="http_requests", kind="http_requests"), LABELS)
    decoder = Decoder(dataset, frozenset({"zone", "tier", "EdgeResponseStatus"}), native=native)
    payloads = {"a": [line(1), line(2)], "logs.us": [line(3)], "b": [b"torn", line(4)]}
    chunks = [
        Chunk(Progress(topic=topic, partition=0), TIMING, rows, np.arange(len(rows)), np.full(len(rows), NO_LIMIT))
        for topic, rows in payloads.items()
    ]
    batch = read_batch(decoder, chunks)
    said = {
        name: [column.vocabulary[code] if code >= 0 else None for code in column.codes.tolist()]
        for name, column in batch.strings.items()
    }
    assert said == {"zone": ["eu", "eu", "us", None], "tier": ["paid", "paid", None, None]}


@pytest.mark.parametrize(
    ("labels", "words"),
    [('{ "a b" = "x" }', "'a b' is no name of a column"), ('{ ClientIP = "x" }', "ClientIP is a field of http_requests")],
)
def test_a_label_that_cannot_be_a_column_is_refused(tmp_path, labels, words):
    text = f'[input.kafka]\nbrokers = ["b:1"]\n[input.kafka.topics]\nt = {{ dataset = "http_requests", labels = {labels} }}\n'
    with pytest.raises(ConfigErrors) as refused:
        loads(text, tmp_path / "m.toml")
    assert [words in str(error) for error in refused.value.errors] == [True]


@pytest.mark.kafka
def test_windows_are_grouped_by_what_topics_say(brokers, topic, tmp_path):
    names = {name: topic(1) for name in ("eu", "us", "other")}
    for count, name in enumerate(names, start=1):
        topics.send(brokers, names[name], [Sent(None, line(n), START_MS + n, 0) for n in range(count)])
    config = tmp_path / "monitor.toml"
    config.write_text(CONFIG.format(brokers=brokers, **names))
    runs.checked("run", "-c", config, "--until-end", "--out", tmp_path / "out")
    rows = [json.loads(row) for row in (tmp_path / "out" / "windows.ndjson").read_text().splitlines()]
    counts = {(row["metric"], row["key"].get("zone")): row["value"] for row in rows if row["statistic"] == "count"}
    assert {key: value for key, value in counts.items() if key[1] or key[0] == "elsewhere"} == {
        ("requests", "eu"): 1,
        ("requests", "us"): 2,
        ("elsewhere", None): 2,
    }
    assert counts["requests", None] == 6
    # The same records as files, in folders named after the topics (one with its partition), give the same windows.
    for count, name in enumerate(names, start=1):
        folder = tmp_path / "logs" / "http_requests" / (names[name] + "-0" * (name == "us"))
        folder.mkdir(parents=True)
        (folder / "a.ndjson").write_bytes(b"\n".join(line(n) for n in range(count)))
    archive = ("--source", f"archive:{tmp_path / 'logs'}", "--out", tmp_path / "replayed")
    runs.checked("replay", "-c", config, *archive)
    assert (tmp_path / "replayed" / "windows.ndjson").read_bytes() == (tmp_path / "out" / "windows.ndjson").read_bytes()


@pytest.mark.parametrize(
    ("folder", "zone"),
    [("a", "eu"), ("a-17", "eu"), ("logs.x-0", "us"), ("a-1-2", None), ("0", None), (".", None), ("b", None)],
)
def test_a_folder_of_an_archive_has_the_labels_of_the_topic_that_it_is_named_after(folder, zone):
    dataset = build_dataset(DatasetOptions(name="http_requests", kind="http_requests"), LABELS)
    assert dataset.label("zone", dataset.topic_of(folder)) == zone
