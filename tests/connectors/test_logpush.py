"""The Logpush receiver over real HTTP into a real broker: what it takes, what it refuses, and what it says."""

import contextlib
import gzip
import json
import socket
import ssl
import threading
import time
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.config import ConfigErrors, loads
from flows.options import ConfigError
from flows.receive import doors_of
from tests import receiver, runs
from tests.fakes.smtp import certificate
from tests.kafka import topics

DATA = Path(__file__).parents[1] / "data" / "logpush"
SECRET = "correct-horse-battery-staple"
VALIDATIONS = [b'{"content":"tests"}', b'{"content":"test"}', b"test"]


def line(n, **more):
    return json.dumps({"RayID": f"{n:016x}", "EdgeEndTimestamp": 1_764_547_200_000_000_000 + n} | more).encode()


def body(*lines, end=b""):
    return gzip.compress(b"\n".join(lines) + end)


def values(brokers, topic, partitions=2):
    return [message.value() for n in range(partitions) for message in topics.held(brokers, topic, n)]


def lines_in(brokers, topic):
    return sorted(row for value in values(brokers, topic) for row in value.split(b"\n") if row.strip())


@pytest.fixture
def door(brokers, topic, tmp_path):
    """Give a maker of receivers; the topics of each are `requests` and `letters`."""

    def make(*lines, **options):
        made = topic(2), topic(1)
        found = receiver.start(tmp_path, brokers, {made[0]: "http_requests"}, f'dead_letters = "{made[1]}"', *lines, **options)
        return found, *made

    return make


@pytest.fixture(scope="module")
def shared(brokers, tmp_path_factory):
    """Give one receiver with a secret, for what only asks it."""
    topics.create(brokers, "shared-requests", 2, {})
    topics.create(brokers, "shared-letters", 1, {})
    lines = (
        'dead_letters = "shared-letters"',
        f'secrets = ["{SECRET}", "another-secret-meanwhile"]',
        "max_inflated = 2_000_000",
    )
    started = receiver.start(tmp_path_factory.mktemp("door"), brokers, {"shared-requests": "http_requests"}, *lines)
    runs.STARTED.remove(started.process)
    yield started
    assert started.end() == 0
    for name in ("shared-requests", "shared-letters"):
        topics.delete(brokers, name)


def test_uploads_arrive_and_validation_uploads_do_not(brokers, door):
    started, requests, letters = door()
    for text in VALIDATIONS:
        for packed in (True, False):
            answer = started.post(
                gzip.compress(text) if packed else text, headers={"Content-Encoding": "gzip" if packed else ""}
            )
            assert (answer.status_code, answer.json()) == (200, {"message": "validation", "records": 0, "dead_letters": 0})
    assert values(brokers, requests) == []
    real = (DATA / "logflare_http_requests_body.ndjson.gz").read_bytes()
    for kind in ("application/json", "text/plain", "application/x-ndjson", "image/png", ""):
        answer = started.post(real, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["records"]) == (200, 2)
    assert started.post(body(line(1), line(2))).json()["records"] == 2
    assert started.post(body(line(3), b"", line(4), end=b"\n")).json()["records"] == 2
    assert started.post(body()).json() == {"message": "taken", "records": 0, "dead_letters": 0}
    assert started.post(line(5), headers={"Content-Encoding": ""}).json()["records"] == 1
    assert started.post(body(line(6)), params={"job": "7", "tags": "a b"}).json()["records"] == 1  # a job's own parameters
    assert started.post(b"", headers={"Content-Encoding": "gzip"}).json()["records"] == 0
    wanted = [row for row in gzip.decompress(real).split(b"\n") if row] * 5 + [line(n) for n in range(1, 7)]
    assert lines_in(brokers, requests) == sorted(wanted)
    assert values(brokers, letters, 1) == []
    assert started.end() == 0


ROW = st.one_of(
    st.builds(line, st.integers(0, 2**63)),
    st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"")),
    st.text(max_size=20).map(lambda text: line(1, ClientRequestPath=text)),
    st.sampled_from([b"", b" ", b"{}", b"null", b'{"EdgeEndTimestamp":1}', b"{" * 500, b'{"a":"\\ud800"}', b"[]", b"test"]),
    st.recursive(st.none() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)).map(
        lambda value: json.dumps(value).encode()
    ),
)


@settings(max_examples=100)
@given(rows=st.lists(ROW, max_size=12), ends=st.booleans(), packed=st.booleans())
def test_whatever_comes_every_line_is_a_record_or_a_dead_letter(shared, rows, ends, packed):
    text = b"\n".join(rows) + (b"\n" if ends else b"")
    if text.lstrip()[:1] == b"[" or text.strip() in VALIDATIONS or (not packed and text[:2] == b"\x1f\x8b"):
        return  # an array, a validation upload, or gzip
    headers = {"X-CF-Secret": SECRET, "Content-Encoding": "gzip" if packed else ""}
    answer = shared.post(gzip.compress(text) if packed else text, headers=headers)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["records"] + found["dead_letters"] == sum(bool(row.strip()) for row in text.split(b"\n"))


@settings(max_examples=60)
@given(raw=st.binary(max_size=200), packed=st.booleans())
def test_whatever_bytes_come_the_answer_is_one_of_few(shared, raw, packed):
    answer = shared.post(raw, headers={"X-CF-Secret": SECRET, "Content-Encoding": "gzip" if packed else ""})
    assert answer.status_code in (200, 400)


def test_a_bad_line_is_a_dead_letter_and_the_others_arrive(brokers, door):
    started, requests, letters = door()
    rows = [line(1), b"not JSON", line(2), b'{"RayID":"x","password":"hunter2"}', b"[1]", b"\xff\xfe", line(3)]
    answer = started.post(body(*rows))
    assert (answer.status_code, answer.json()) == (200, {"message": "taken", "records": 3, "dead_letters": 4})
    assert lines_in(brokers, requests) == [line(1), line(2), line(3)]
    found = [json.loads(value) for value in values(brokers, letters, 1)]
    assert [(each["place"], each["reason"]) for each in found] == [
        ("line 2 of an upload", "not JSON"),
        ("line 4 of an upload", "no valid event time in EdgeEndTimestamp or EdgeStartTimestamp"),
        ("line 5 of an upload", "no JSON object but an array"),
        ("line 6 of an upload", "not JSON"),
    ]
    assert {(each["dataset"], each["topic"]) for each in found} == {("http_requests", requests)}
    assert [each["payload"] for each in found][1] == '{"RayID":"x","password":"***"}'


def test_without_a_topic_for_dead_letters_bad_lines_go_on_for_the_flow_to_refuse(brokers, topic, tmp_path):
    name = topic(2)
    started = receiver.start(tmp_path, brokers, {name: "http_requests"}, 'dead_letters = ""')
    assert started.post(body(line(1), b"not JSON")).json() == {"message": "taken", "records": 2, "dead_letters": 0}
    assert values(brokers, name) == [line(1) + b"\nnot JSON"]


def test_lines_travel_in_messages_of_the_stated_size_keyed_by_a_ray_id(brokers, door):
    started, requests, _ = door("message_bytes = 10_000")
    rows = [line(n) for n in range(5000)]
    assert started.post(body(*rows)).json()["records"] == 5000
    found = [message for n in range(2) for message in topics.held(brokers, requests, n)]
    assert max(len(message.value()) for message in found) <= 10_000
    assert sorted(row for message in found for row in message.value().split(b"\n")) == sorted(rows)
    assert [m.key() for m in found] == [json.loads(m.value().split(b"\n")[0])["RayID"].encode() for m in found]
    assert abs(found[0].timestamp()[1] - time.time() * 1000) < 600_000


@pytest.mark.parametrize(
    ("path", "method", "headers", "content", "status", "words"),
    [
        ("http_requests", "POST", {"X-CF-Secret": ""}, b"", 403, "another secret"),
        ("http_requests", "POST", {"X-CF-Secret": "wrong"}, b"", 403, "another secret"),
        ("http_requests", "POST", {"X-CF-Secret": SECRET[:-1]}, b"", 403, "another secret"),
        ("http_requests", "POST", {"X-CF-Secret": None}, b"x" * 3_000_000, 401, "header X-CF-Secret is missing"),
        ("firewall_events", "POST", {}, b"", 404, "there are: http_requests"),
        ("", "POST", {}, b"", 404, "no such dataset"),
        ("../", "POST", {}, b"", 404, "uploads go to /logpush/DATASET"),
        ("http_requests", "GET", {}, b"", 405, "POSTed"),
        ("http_requests", "POST", {"Content-Encoding": "br"}, b"", 415, "send gzip or none"),
        ("http_requests", "POST", {}, b"no gzip", 400, "cannot be inflated"),
        ("http_requests", "POST", {}, gzip.compress(line(1) * 50, mtime=0)[:-4], 400, "cannot be inflated"),
        ("http_requests", "POST", {}, gzip.compress(line(1) + b" " * 2_000_000, mtime=0), 413, "more than 2000000 bytes"),
        ("http_requests", "POST", {"Content-Length": "9999999999"}, b"", 413, "at most 1073741824 bytes"),
    ],
)
def test_what_can_never_be_accepted_is_refused_with_a_reason(shared, path, method, headers, content, status, words):
    given = {"X-CF-Secret": SECRET, "Content-Encoding": "gzip"} | headers
    given = {name: value for name, value in given.items() if value is not None}
    if "Content-Length" in given:
        assert answer_to_head(shared, given).startswith(b"HTTP/1.1 413 ")
        return
    answer = httpx.request(method, shared.url + path, content=content, headers=given, timeout=60)
    assert (answer.status_code, words in answer.json()["message"]) == (status, True)
    assert "retry-after" not in answer.headers


def answer_to_head(started, headers):
    address = httpx.URL(started.url)
    with socket.create_connection((address.host, address.port), 30) as client:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        client.sendall(f"POST /logpush/http_requests HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        return client.recv(1000)


def test_any_of_the_secrets_opens_and_none_is_in_the_log(shared):
    for secret in (SECRET, "another-secret-meanwhile"):
        assert shared.post(body(line(7)), headers={"X-CF-Secret": secret}).status_code == 200
    given = {"X-CF-Secret": "guess-of-a-stranger"}
    httpx.post(f"{shared.url}http_requests?key=secret-in-the-query", content=b"", headers=given)
    httpx.post(f"{shared.url}%0Ainjected%20line", content=b"", headers=given)
    runs.wait_until(lambda: "injected" in shared.log, what="the log line")
    told = [secret for secret in (SECRET, "another-secret", "guess-of", "secret-in-the-query") if secret in shared.log]
    assert told == []
    assert [row for row in shared.log.splitlines() if row.startswith("injected")] == []
    assert "POST /logpush/http_requests 200 bytes=" in shared.log


def test_it_says_whether_it_lives_and_is_ready(shared):
    assert [shared.get(path).status_code for path in ("/livez", "/readyz", "/")] == [200, 200, 404]


def test_what_was_taken_is_counted_for_those_who_have_the_secret(brokers, door):
    started, _, _ = door(f'secrets = ["{SECRET}"]')
    for rows in ((line(1), line(2)), (line(3), b"bad")):
        assert started.post(body(*rows), headers={"X-CF-Secret": SECRET}).status_code == 200
    started.post(b"no gzip", headers={"X-CF-Secret": SECRET})
    url = started.url.removesuffix("/logpush/") + "/metrics"
    assert httpx.get(url).status_code == 404
    found = httpx.get(url, headers={"X-CF-Secret": SECRET}).text
    wanted = [
        'edgewatch_uploads_total{dataset="http_requests",status="200"} 2.0',
        'edgewatch_uploads_total{dataset="http_requests",status="400"} 1.0',
        'edgewatch_upload_records_total{dataset="http_requests"} 3.0',
        'edgewatch_upload_dead_letters_total{dataset="http_requests"} 1.0',
        "edgewatch_uploads_in_flight 0.0",
    ]
    assert [each for each in wanted if each not in found.splitlines()] == []


def test_a_chunked_upload_and_one_that_asks_first_are_taken(shared):
    def pieces():
        packed = body(line(1), line(2))
        yield packed[:10]
        yield packed[10:]

    assert shared.post(pieces(), headers={"X-CF-Secret": SECRET}).json()["records"] == 2
    packed = body(line(3))
    headers = {"X-CF-Secret": SECRET, "Content-Encoding": "gzip", "Expect": "100-continue", "Content-Length": str(len(packed))}
    assert answer_to_head(shared, headers).startswith(b"HTTP/1.1 100 ")


def test_a_slow_client_is_cut_off_and_a_silent_one_too(door):
    started, _, _ = door('idle_timeout = "1s"', "max_uploads = 1")
    address = httpx.URL(started.url)
    with socket.create_connection((address.host, address.port), 60) as headless:
        headless.sendall(b"POST /logpush/http_requests HTTP/1.1\r\nHost")
        assert headless.recv(100) == b""

    def dripping():
        while True:
            yield b"x"
            time.sleep(0.2)

    answers = []
    for content in (dripping(), iter([b"x"])):
        with socket.create_connection((address.host, address.port), 60) as client:
            client.sendall(b"POST /logpush/http_requests HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.settimeout(0.01)
            heard = b""
            while not heard:
                with contextlib.suppress(TimeoutError):
                    heard = client.recv(1000)
                    break
                for piece in content:
                    client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                    break
            answers.append(heard)
    assert [answer[:13] for answer in answers] == [b"HTTP/1.1 408 ", b"HTTP/1.1 408 "]
    assert started.post(body(line(1))).status_code == 200


def test_under_pressure_uploads_are_asked_to_come_again_later(door):
    started, _, _ = door("max_uploads = 1", 'retry_after = "7s"')
    address = httpx.URL(started.url)
    packed = body(line(1), line(2))
    with socket.create_connection((address.host, address.port), 60) as first:
        first.sendall(b"POST /logpush/http_requests HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(packed))
        first.sendall(packed[:5])

        def refused():
            answer = started.post(body(line(3)))
            return (answer.status_code, answer.headers.get("retry-after")) == (429, "7")

        runs.wait_until(refused, what="an answer of 429")
        first.sendall(packed[5:])
        assert first.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert started.post(body(line(3))).status_code == 200


def test_repeats_that_are_remembered_are_taken_once(brokers, door):
    started, requests, _ = door("remember = 10")
    packed = body(line(1), line(2))
    answers = [started.post(packed).json() for _ in range(3)]
    assert [each["message"] for each in answers] == ["taken", "repeat", "repeat"]
    assert {each["records"] for each in answers} == {2}
    assert lines_in(brokers, requests) == [line(1), line(2)]


def test_personal_data_is_nowhere_behind_the_door(brokers, door):
    lines = ('hash = ["ClientIP"]', 'drop = ["ClientRequestUserAgent"]', 'hash_key = "a-key-of-the-owner"')
    started, requests, letters = door(*lines)
    personal = {"ClientIP": "192.0.2.77", "ClientRequestUserAgent": "Ann's browser"}
    rows = [line(1, **personal), line(2, **personal), line(3, **personal)[:-1]]
    assert started.post(body(*rows)).json() == {"message": "taken", "records": 2, "dead_letters": 1}
    found = [json.loads(row) for row in lines_in(brokers, requests)]
    assert [sorted(each) for each in found] == [["ClientIP", "EdgeEndTimestamp", "RayID"]] * 2
    assert len({each["ClientIP"] for each in found}) == 1
    everything = b"".join(values(brokers, requests) + values(brokers, letters, 1)) + started.log.encode()
    assert [each for each in (b"192.0.2.77", b"Ann's", b"a-key-of") if each in everything] == []


def test_tls_is_spoken_with_a_certificate(door, tmp_path):
    made = certificate(tmp_path, "localhost")
    started, _, _ = door(f'tls_certificate = "{made.file}"', f'tls_key = "{made.key}"', scheme="https")
    url = started.url.replace("127.0.0.1", "localhost") + "http_requests"
    trusting = ssl.create_default_context(cafile=str(made.file))
    headers = {"Content-Encoding": "gzip"}
    assert httpx.post(url, content=body(line(1)), headers=headers, verify=trusting, timeout=60).status_code == 200


@pytest.mark.slow
def test_while_kafka_is_away_uploads_come_again_and_then_arrive(own_broker, tmp_path):
    broker = own_broker()
    for name in ("requests", "letters"):
        topics.create(broker.address, name, 1, {})
    lines = ('dead_letters = "letters"', 'ack_timeout = "2s"')
    started = receiver.start(tmp_path / "door", broker.address, {"requests": "http_requests"}, *lines)
    assert started.post(body(line(1))).status_code == 200
    broker.kill()
    answer = started.post(body(line(2)))
    assert (answer.status_code, answer.headers["retry-after"], "Kafka" in answer.text or "topic" in answer.text) == (
        503,
        "10",
        True,
    )
    runs.wait_until(lambda: started.get("/readyz").status_code == 503, what="the word that it is not ready")
    broker.start()
    runs.wait_until(lambda: started.get("/readyz").status_code == 200, what="the word that it is ready")
    runs.wait_until(lambda: started.post(body(line(3))).status_code == 200, what="an upload that is taken")
    assert {line(1), line(3)} <= set(values(broker.address, "requests", 1))
    assert started.end() == 0


def test_sigterm_finishes_what_is_in_flight_and_exits_0(brokers, door):
    started, requests, _ = door()
    address = httpx.URL(started.url)
    packed = body(line(1), line(2))
    with socket.create_connection((address.host, address.port), 60) as client:
        client.sendall(b"POST /logpush/http_requests HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(packed))
        client.sendall(packed[:5])
        runs.wait_until(lambda: started.get("/readyz").status_code == 200)
        ended = []
        waiting = threading.Thread(target=lambda: ended.append(started.end()))
        waiting.start()

        def closed():
            with contextlib.suppress(OSError), socket.create_connection((address.host, address.port), 5):
                return False
            return True

        runs.wait_until(closed, what="the end of listening")
        client.sendall(packed[5:])
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    waiting.join()
    assert ended == [0]
    assert lines_in(brokers, requests) == [line(1), line(2)]


@pytest.mark.slow
def test_everything_answered_200_is_in_the_topic_after_kill_9(brokers, topic, tmp_path):
    requests, letters = topic(2), topic(1)
    port, taken = 0, []
    for round_ in range(3):
        lines = (f'dead_letters = "{letters}"', "message_bytes = 4_000")
        started = receiver.start(tmp_path, brokers, {requests: "http_requests"}, *lines, port=port)
        stopped = threading.Event()

        def upload(client, started=started, round_=round_, stopped=stopped):
            number = 0
            while not stopped.is_set():
                first = ((round_ * 4 + client) * 10_000 + number) * 1000
                number += 1
                rows = [line(first + n) for n in range(300)]
                with contextlib.suppress(httpx.HTTPError):
                    if started.post(body(*rows)).status_code == 200:
                        taken.append(rows)

        clients = [threading.Thread(target=upload, args=(n,)) for n in range(4)]
        before = len(taken)
        for each in clients:
            each.start()
        runs.wait_until(lambda before=before: len(taken) >= before + 20, what="uploads")
        started.process.kill()
        started.process.wait()
        stopped.set()
        for each in clients:
            each.join()
    there = set(lines_in(brokers, requests))
    assert sum(len(rows) for rows in taken) >= 60 * 300
    assert [row for rows in taken for row in rows if row not in there] == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            ['listen = "0.0.0.0:8088"'],
            "receive.listen: 0.0.0.0:8088 can be reached from other machines: give [receive].secrets",
        ),
        (['listen = "here"'], "receive.listen: 'here' is not host:port"),
        (['secrets = ["short"]'], "receive.secrets: a secret has at least 16 characters"),
        (['tls_key = "key.pem"'], "receive.tls_certificate: tls_certificate and tls_key go together"),
        (
            ['topics = { http_request = "t" }'],
            "receive.topics.http_request: no dataset 'http_request'; did you mean 'http_requests'?",
        ),
        (['header = "a b"'], "receive.header: 'a b' is no name of a header"),
        (['idle_timeout = "1ms"'], 'receive.idle_timeout: must be at least "1s"'),
    ],
)
def test_a_wrong_configuration_stops_the_start(tmp_path, lines, words):
    text = '[input.kafka]\nbrokers = ["127.0.0.1:9"]\ntopics = { t = "http_requests" }\n[receive]\n' + "\n".join(lines)
    with pytest.raises((ConfigErrors, ConfigError)) as found:
        doors_of(loads(text, tmp_path / "monitor.toml"))
    assert words in str(found.value)
    assert '"short"' not in str(found.value)


def test_a_topic_that_is_not_there_stops_the_start_with_the_way_out(brokers, tmp_path):
    config = tmp_path / "monitor.toml"
    config.write_text(f'[input.kafka]\nbrokers = ["{brokers}"]\ntopics = {{ nowhere = "http_requests" }}\n')
    done = runs.edgewatch("receive", "-c", config)
    assert done.returncode == 1
    assert f"topic nowhere is not there at {brokers}: make it with `kafka-topics.sh" in done.stderr
