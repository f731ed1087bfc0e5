"""Dead letters on a real broker and chDB: listed without secrets, and sent on after a fix, each once."""

import gzip
import json
import time

import pytest

from connectors.dead_letters import Letter, Place, chosen
from flows.output import canonical
from sinks.clickhouse import ClickHouse, ClickHouseOptions
from sinks.embedded import Embedded
from tests import receiver, runs
from tests.flows.test_ingest import committed
from tests.kafka import topics
from tests.kafka.topics import Sent

FIXED = "\n[[dataset]]\nname = 'http_requests'\nkind = 'http_requests'\nrename = { when = 'EdgeEndTimestamp' }\n"


def good(n):
    return json.dumps({"RayID": f"{n:016x}", "EdgeEndTimestamp": 1_764_547_200_000 + n}).encode()


def renamed(n):
    return json.dumps({"RayID": f"{n:016x}", "when": 1_764_547_200_000 + n, "password": "planted-word"}).encode()


def listed(*arguments):
    return json.loads(runs.checked("dead-letters", *arguments, "--json").stdout)


def test_letters_are_chosen_by_dataset_and_words_of_their_reason():
    reasons = ("not JSON", "not JSON", "No valid event time", "No valid event time")
    letters = [Letter(Place("t", "0", n, 0), f"d{n % 2}", reason, "", "t") for n, reason in enumerate(reasons)]
    assert [each.place.offset for each in chosen(letters, dataset="d1", reason=None)] == [1, 3]
    assert [each.place.offset for each in chosen(letters, dataset=None, reason="event TIME")] == [2, 3]
    assert [str(each.place) for each in chosen(letters, dataset="d0", reason="json")] == ["t/0/0/0"]
    assert str(Place("a.b", "3", 17)) == "a.b/3/17"


@pytest.mark.slow
def test_the_dead_letters_of_a_replay_are_listed_from_its_folder(tmp_path):
    folder = tmp_path / "logs" / "http_requests" / "p0"
    folder.mkdir(parents=True)
    (folder / "a.ndjson.gz").write_bytes(gzip.compress(b"\n".join([good(1), b"not json password=planted-word", renamed(2)])))
    config, out = tmp_path / "monitor.toml", tmp_path / "out"
    config.write_text('[input.kafka]\nbrokers = ["127.0.0.1:1"]\ntopics = { t = "http_requests" }\n')
    runs.checked("replay", "-c", config, "--source", f"archive:{tmp_path / 'logs'}", "--out", out)
    found = listed("list", "-c", config, "--from-dir", out)
    assert [(each["reason"], each["sent_on"]) for each in found] == [
        ("not JSON", None),
        ("no valid event time in EdgeEndTimestamp or EdgeStartTimestamp", None),
    ]
    assert "planted-word" not in json.dumps(found)
    place = found[0]["place"]
    shown = runs.checked("dead-letters", "show", "-c", config, place, "--from-dir", out).stdout
    assert ("reason  not JSON" in shown, "password=***" in shown) == (True, True)
    text = runs.checked("dead-letters", "list", "-c", config, "--from-dir", out, "--reason", "json").stdout
    assert text.splitlines()[-1] == "1 dead letters, 1 shown"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "x/0/1/0"), "no dead letter is known at x/0/1/0"),
        (("replay",), "name places as `dead-letters list` shows them, or give --all"),
        (("list", "--from-dir", "nowhere"), "nowhere holds no dead_letters.ndjson"),
    ],
)
def test_what_cannot_be_asked_is_said(tmp_path, arguments, words):
    config = tmp_path / "monitor.toml"
    config.write_text("environment = 'test'\n")
    (tmp_path / "dead_letters.ndjson").write_bytes(b"")
    more = () if "nowhere" in arguments else ("--from-dir", tmp_path)
    done = runs.edgewatch("dead-letters", arguments[0], "-c", config, *arguments[1:], *more)
    assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


@pytest.mark.kafka
def test_letters_of_the_flow_go_on_after_a_fix_each_once(brokers, topic, tmp_path):
    pytest.importorskip("chdb", reason="missing service: chdb (pip install 'edgewatch[embedded]')")
    requests, letters, other = topic(1), topic(1), topic(1)
    now = int(time.time() * 1000)
    values = [good(1), b"[" + renamed(2) + b",\n 7, " + renamed(3) + b"]", b"no json", renamed(4)]
    topics.send(brokers, requests, [Sent(b"k", value, now, 0) for value in values])
    with Embedded(tmp_path / "clickhouse") as server:
        config = tmp_path / "monitor.toml"
        text = f'[input.kafka]\nbrokers = ["{brokers}"]\nstart = "earliest"\ntopics = {{ "{requests}" = "http_requests" }}\n'
        text += f'[receive]\ndead_letters = "{letters}"\n[clickhouse]\nurl = "{server.url}"\n'
        config.write_text(text)
        runs.checked("run", "-c", config, "--until-end", "--out", tmp_path / "out")
        client = ClickHouse(ClickHouseOptions(url=server.url))
        if not client.query("SELECT 1 FROM dead_letters LIMIT 1"):  # a bounded run keeps them in its folder
            client.insert("dead_letters", (tmp_path / "out" / ".state" / "dead_letters.ndjson").read_bytes())
        client.close()
        found = listed("list", "-c", config)
        assert [each["place"] for each in found] == [f"{requests}/0/{at}" for at in ("1/0", "1/1", "1/2", "2/0", "3/0")]
        before = runs.edgewatch("dead-letters", "replay", "-c", config, "--all", "--json")
        assert (before.returncode, json.loads(before.stdout)["sent"]) == (1, [])

        config.write_text(text + FIXED)
        tried = runs.edgewatch("dead-letters", "replay", "-c", config, "--all", "--dry-run", "--json")
        assert (len(json.loads(tried.stdout)["sent"]), len(committed(brokers, requests, 1))) == (3, 4)
        told = json.loads(runs.edgewatch("dead-letters", "replay", "-c", config, "--all", "--json").stdout)
        sent = [f"{requests}/0/{at}" for at in ("1/0", "1/2", "3/0")]
        assert (told["sent"], sorted(told["refused"])) == (sent, [f"{requests}/0/1/1", f"{requests}/0/2/0"])
        again = json.loads(runs.edgewatch("dead-letters", "replay", "-c", config, "--all", "--to", other, "--json").stdout)
        assert (again["sent"], again["sent_before"], committed(brokers, other, 1)) == ([], sent, [])
        records = [json.loads(value) for value in committed(brokers, requests, 1)[4:]]
        assert records == [json.loads(renamed(n)) for n in (2, 3, 4)]
        assert [each["place"] for each in listed("list", "-c", config) if each["sent_on"]] == sent


@pytest.mark.kafka
def test_letters_of_the_receiver_carry_the_line_and_go_on_without_personal_data(brokers, topic, tmp_path):
    requests, letters = topic(1), topic(1)
    with_letters = f'dead_letters = "{letters}"'
    door = receiver.start(tmp_path / "door", brokers, {requests: "http_requests"}, with_letters)
    assert door.post(gzip.compress(b"\n".join([good(1), renamed(2), b"torn"]))).json()["dead_letters"] == 2
    assert door.end() == 0
    first, second = topics.held(brokers, letters)
    assert dict(first.headers())["line"] == renamed(2)
    assert "planted-word" not in str(first.value())
    config = tmp_path / "door" / "monitor.toml"
    text = config.read_text() + 'drop = ["password"]\n' + FIXED
    config.write_text(text)
    told = json.loads(runs.edgewatch("dead-letters", "replay", "-c", config, "--all", "--json").stdout)
    assert (told["sent"], list(told["refused"])) == ([f"{letters}/0/{first.offset()}"], [f"{letters}/0/{second.offset()}"])
    again = json.loads(runs.edgewatch("dead-letters", "replay", "-c", config, told["sent"][0], "--json").stdout)
    assert (again["sent"], again["sent_before"]) == ([], told["sent"])
    (_, value) = committed(brokers, requests, 1)
    assert canonical(json.loads(value)) == canonical({"RayID": f"{2:016x}", "when": 1_764_547_200_002})


@pytest.mark.kafka
def test_lines_are_not_kept_where_that_is_not_wanted(brokers, topic, tmp_path):
    requests, letters = topic(1), topic(1)
    door = receiver.start(tmp_path, brokers, {requests: "http_requests"}, f'dead_letters = "{letters}"', "keep_whole = false")
    assert door.post(gzip.compress(renamed(2))).status_code == 200
    assert door.end() == 0
    (held,) = topics.held(brokers, letters)
    assert (held.headers(), "planted-word" in str(held.value())) == (None, False)
    told = json.loads(runs.edgewatch("dead-letters", "replay", "-c", tmp_path / "monitor.toml", "--all", "--json").stdout)
    assert list(told["refused"].values()) == ["nothing but an excerpt was kept of it"]
