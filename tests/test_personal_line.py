"""Personal data from the door to the rows: users are still counted, and nobody's address or name is anywhere behind it."""

import gzip
import json

from tests import receiver, runs

START_MS = 1_764_547_200_000
LINES = (
    *('hash = ["ClientIP", "blobs[1]"]', 'drop = ["ClientRequestUserAgent"]'),
    *('hash_key = "a-key-of-the-owner"', 'dead_letters = ""'),
)
PERSONAL = (b"192.0.2.", b"Ann's browser", b"user-1", b"a-key-of-the-owner")


def request(n):
    who = {"ClientIP": f"192.0.2.{n % 3}", "ClientRequestUserAgent": "Ann's browser"}
    return {"RayID": f"{n:x}", "EdgeEndTimestamp": START_MS + n} | who


def event(n):
    blobs = ["investment_made", f"user-{1000 + n % 2}", "investor"]
    return {"timestamp": START_MS + n, "blobs": blobs, "doubles": [100, 1], "indexes": ["t", "production"]}


def packed(records):
    return gzip.compress(b"\n".join(json.dumps(each).encode() for each in records))


def test_users_are_counted_by_hashes_and_nothing_personal_is_behind_the_door(brokers, topic, tmp_path):
    names = {topic(1): "http_requests", topic(1): "business"}
    door = receiver.start(tmp_path, brokers, names, *LINES)
    assert door.post(packed(map(request, range(9)))).json()["records"] == 9
    assert door.post(packed(map(event, range(4))), dataset="business").json()["records"] == 4
    assert door.post(gzip.compress(b'{"ClientIP":"192.0.2.1"')).json()["records"] == 1  # torn: goes on for the flow to refuse
    assert door.end() == 0
    config, out = tmp_path / "monitor.toml", tmp_path / "out"
    text = config.read_text().replace("[input.kafka]", '[input.kafka]\nstart = "earliest"')
    config.write_text(text + '[window]\nallowed_lateness = "0s"\n')
    runs.checked("run", "-c", config, "--until-end", "--out", out)
    rows = [json.loads(row) for row in (out / "windows.ndjson").read_text().splitlines()]
    values = {(row["metric"], row["statistic"]): row["value"] for row in rows if not row["key"]}
    assert (values["requests", "count"], values["unique_users", "distinct"]) == (9, 3)
    assert (values["business_events", "count"], values["business_amount", "sum"]) == (4, 400)
    assert json.loads((out / "summary.json").read_text())["dead_letters"] == 1
    files = [path for path in out.rglob("*") if path.is_file()]
    found = {(path.name, word) for path in files for word in PERSONAL if word in path.read_bytes()}
    assert (len(files) > 8, found, [word for word in PERSONAL if word in door.log.encode()]) == (True, set(), [])
