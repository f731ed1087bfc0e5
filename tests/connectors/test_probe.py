"""Probes against real HTTP servers: what they ask, what they find, and what the records say."""

import asyncio
import datetime
import json
import socket
import ssl

import pytest

from connectors import probe_wire
from connectors.certificate import expiry_ms
from connectors.probe import Probe
from connectors.probe_options import ProbeOptions, StepOptions
from connectors.probe_wire import LARGEST_BODY
from tests.fakes.scripted import Answer, of_json
from tests.fakes.site import Site, certificate_until

BODY = {
    "overall": "healthy",
    "checks": {
        "database": {"status": "healthy", "latencyMs": 12, "poolStats": {"active": 3, "idle": 7, "waiting": 0}},
        "worker": {"status": "healthy"},
        "integration": {"services": {"redis": True, "websocket": False}},
    },
    "cache": {"hits": 30, "misses": 10, "size": 5, "evictions": 1},
    "secret": "stays there",
}
DAY = 86_400


@pytest.fixture
def site():
    with Site() as started:
        yield started


def probe(site, **options):
    given = {"name": "p", "url": f"{site.url}/api/health/all", "timeout_ms": 5000} | options
    return Probe(ProbeOptions(**given), location="fra", environment="test")


def checked(found):
    return asyncio.run(found.check())


def failed(site, *answers, **options):
    """Give what a check said that got these answers."""
    site.script = list(answers)
    outcome = checked(probe(site, **options))
    return outcome.failure, outcome.words


def test_a_healthy_endpoint_becomes_two_records_with_what_they_need_and_nothing_more(site):
    site.script = [of_json(200, BODY)]
    found = probe(site, url=f"{site.url}/api/health/all?key=hidden")
    outcome = checked(found)
    record = found.health(outcome)
    times = {name: record.pop(name) for name in ("timestamp", "latency_ms", "dns_ms", "connect_ms", "first_byte_ms")}
    assert all(value >= 0 for name, value in times.items() if name != "timestamp")
    assert record == {
        "probe": "p",
        "location": "fra",
        "environment": "test",
        "url": f"{site.url}/api/health/all",
        "http_status": 200,
        "ok": True,
        "down": False,
        "overall": "healthy",
        "checks": {
            "database": {"status": "healthy", "latencyMs": 12},
            "worker": {"status": "healthy"},
            "integration": {"services": {"redis": True, "websocket": False}},
        },
        "poolStats": {"active": 3, "idle": 7, "waiting": 0},
    }
    assert found.runtime(outcome) == {
        "timestamp": times["timestamp"],
        "name": "p",
        "environment": "test",
        "cache": {"hits": 30, "misses": 10, "hitRate": 0.75, "size": 5, "evictions": 1},
        "database": {"activeConnections": 3, "idleConnections": 7, "waitingRequests": 0, "latency": 12},
    }
    assert (site.seen[0].method, site.seen[0].path) == ("GET", "/api/health/all?key=hidden")


def test_an_endpoint_without_cache_and_pool_makes_no_runtime_record(site):
    site.script = [of_json(200, {"overall": "healthy", "latencyMs": 3})]
    found = probe(site)
    assert found.runtime(checked(found)) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "options", "expected"),
    [
        (of_json(503, BODY), {}, ("status", "HTTP 503 where 200 is expected")),
        (of_json(204, {}), {"status": (200, 201)}, ("status", "HTTP 204 where 200 or 201 is expected")),
        (of_json(200, {"overall": "Unhealthy"}), {}, ("unhealthy", "the endpoint says that it is unhealthy")),
        (Answer(200, b"down for repairs"), {"lacks": ("repairs",)}, ("assertion", "the body holds 'repairs'")),
        (Answer(200, b"hello"), {"contains": ("hel", "world")}, ("assertion", "the body does not hold 'world'")),
        (of_json(200, {"a": {"b": 1}}), {"equals": {"a.b": True}}, ("assertion", "a.b is 1, not True")),
        (of_json(200, {}), {"equals": {"a.b": "x"}}, ("assertion", "a.b is not there, not 'x'")),
        (Answer(200, b"<html>"), {"equals": {"ok": True}}, ("assertion", "ok is not there, not True")),
        (Answer(200, b"x" * (LARGEST_BODY + 1)), {}, ("body", f"the body is longer than {LARGEST_BODY} bytes")),
        (Answer(200, b"x", fault="stall"), {"timeout_ms": 300}, ("timeout", "no whole answer within 0.3 s")),
        (Answer(302, headers={"Location": "/login"}), {}, ("status", "HTTP 302 where 200 is expected")),
    ],
)
def test_each_thing_that_is_not_as_it_has_to_be_has_its_kind_and_words(site, answer, options, expected):
    assert failed(site, answer, **options) == expected


def test_an_answer_that_takes_longer_than_it_may_is_a_failure_though_it_comes(site):
    kind, words = failed(site, of_json(200, BODY), max_ms=0)
    assert (kind, words.endswith("ms of 0 ms")) == ("slow", True)


def test_a_connection_that_breaks_a_closed_port_and_a_name_that_is_none_are_told_apart(site):
    assert failed(site, Answer(fault="reset"))[0] == "protocol"
    with Site() as gone:
        url = gone.url
    kind, words = failed(site, url=f"{url}/")
    assert (kind, words.startswith(f"no connection to {url.removeprefix('http://')} (")) == ("connect", True)
    kind, words = failed(site, url="http://name.invalid/")
    assert (kind, words.startswith("name.invalid cannot be looked up (")) == ("dns", True)


def test_redirects_are_followed_as_often_as_allowed_and_carry_headers_to_the_same_host_alone(site):
    with Site() as other:
        site.script = [Answer(302, headers={"Location": "/b"}), Answer(307, headers={"Location": f"{other.url}/c"})]
        other.script = [of_json(200, BODY)]
        assert checked(probe(site, redirects=2, headers={"X-Key": "secret-key"})).ok
        assert [(seen.path, seen.headers.get("x-key")) for seen in site.seen + other.seen] == [
            ("/api/health/all", "secret-key"),
            ("/b", "secret-key"),
            ("/c", None),
        ]
    loop = [Answer(301, headers={"Location": "/loop"})] * 3
    assert failed(site, *loop, redirects=2) == ("redirect", f"more than 2 redirects, the last to {site.url}/loop")


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "metadata.example"])
def test_where_clouds_keep_credentials_is_never_asked_not_even_by_a_redirect(site, monkeypatch, host):
    look_up = socket.getaddrinfo

    def looked_up(name, *rest, **more):
        return look_up("169.254.169.254" if name == "metadata.example" else name, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    kind, words = failed(site, url=f"http://{host}/latest/meta-data")
    assert (kind, "where clouds keep its credentials: never asked" in words) == ("connect", True)
    assert failed(site, Answer(302, headers={"Location": f"http://{host}/latest"}), redirects=1)[0] == "connect"


def test_a_redirect_from_a_public_host_does_not_lead_into_the_own_network(site, monkeypatch):
    """The site plays a public one: what its name is looked up to is public, what it redirects to is not."""
    look_up = probe_wire._look_up

    async def looked_up(url, timing):
        public, found = await look_up(url, timing)
        return public or url.host == "localhost", found

    monkeypatch.setattr(probe_wire, "_look_up", looked_up)
    moved = Answer(302, headers={"Location": f"http://127.0.0.1:{site.port}/inside"})
    words = f"the redirect leads into the own network (http://127.0.0.1:{site.port}/inside), not followed"
    assert failed(site, moved, redirects=1) == ("redirect", words)
    assert [seen.path for seen in site.seen] == ["/api/health/all"]


def test_a_name_whose_address_changes_after_it_was_looked_at_leads_nowhere_else(site, monkeypatch):
    looked_up = []

    def changes(host, port, *_, **__):
        looked_up.append(host)
        address = "127.0.0.1" if len(looked_up) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", changes)
    outcome = checked(probe(site, url=f"http://moves.test:{site.port}/api"))
    assert (outcome.failure, looked_up) == ("", ["moves.test"])
    assert site.seen[-1].headers["host"] == f"moves.test:{site.port}"


def test_a_host_is_asked_at_another_of_its_addresses_where_one_does_not_answer(site, monkeypatch):
    given = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, site.port)) for address in ("127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: given)
    assert checked(probe(site, url=f"http://two.test:{site.port}/api")).ok


@pytest.mark.parametrize("goal", ["ftp://localhost/x", "file:///etc/passwd", "gopher://localhost", "data:text/plain,x"])
def test_a_redirect_to_another_scheme_is_not_followed(site, goal):
    kind, words = failed(site, Answer(302, headers={"Location": goal}), redirects=5)
    assert (kind, "another scheme" in words or "no address" in words, len(site.seen)) == ("redirect", True, 1)


def test_certificates_are_seen_with_the_days_they_have_left_also_those_that_are_over(tmp_path):
    now = datetime.datetime.now(datetime.UTC)
    for days, ok in ((5.5, True), (-3.5, False)):
        folder = tmp_path / str(days)
        folder.mkdir()
        end = now.replace(microsecond=0) + datetime.timedelta(days)
        made = certificate_until(folder, end)
        assert expiry_ms(ssl.PEM_cert_to_DER_cert(made.file.read_text())) == end.timestamp() * 1000
        with Site(made) as site:
            site.script = [of_json(200, BODY)]
            found = probe(site, ca_file=str(made.file))
            outcome = checked(found)
            record = found.health(outcome)
            assert (outcome.ok, record["certificate_days_left"]) == (ok, pytest.approx(days, abs=0.11))
            where = f"the certificate of localhost:{site.port} is not valid: certificate has expired"
            assert (outcome.failure, outcome.words) == (("", "") if ok else ("tls", where))
            if ok:
                assert record["tls_ms"] > 0
                site.script = [Answer(302, headers={"Location": "http://localhost:1/"})]
                outcome = checked(probe(site, ca_file=str(made.file), redirects=1))
                assert (outcome.failure, "from https to http://localhost:1/" in outcome.words) == ("redirect", True)


def test_a_certificate_of_an_unknown_authority_is_named_and_a_server_without_tls_too(site, tmp_path):
    made = certificate_until(tmp_path, datetime.datetime.now(datetime.UTC) + datetime.timedelta(30))
    with Site(made) as secured:
        found = probe(secured)
        outcome = checked(found)
        assert (outcome.failure, "self-signed certificate" in outcome.words) == ("tls", True)
        assert found.health(outcome)["certificate_days_left"] == pytest.approx(30, abs=0.11)
    assert failed(site, url=site.url.replace("http", "https"))[0] == "tls"


@pytest.mark.parametrize("cut", [b"", b"\x30", b"\x30\x82\xff\xff", b"\x31\x00", b"\x30\x03\x30\x01\xa0"])
def test_bytes_that_are_no_certificate_have_no_end(cut):
    with pytest.raises(ValueError, match="the certificate"):
        expiry_ms(cut)


LOGIN = (
    StepOptions(
        name="log in",
        url="/login",
        method="POST",
        body='{"user": "${user}", "password": "${password}"}',
        extract={"token": "json:token", "form": "regex:name=(\\w+)", "etag": "header:ETag", "sid": "cookie:sid"},
    ),
    StepOptions(
        name="list", url="/pitches?of=${user}", headers={"Authorization": "Bearer ${token}"}, extract={"first": "json:[0].id"}
    ),
    StepOptions(
        name="create", url="/pitches", method="POST", form={"after": "${first}", "x": "${form}${etag}${sid}"}, status=(201,)
    ),
)


def test_steps_pass_on_what_they_took_out_of_answers_escaped_where_it_goes(site):
    words = {"token": 'to"ken', "html": "<input name=csrf>"}
    logged_in = of_json(200, words, ETag="e1", Set_Cookie="sid=s1; Path=/")
    site.script = [logged_in, of_json(200, {"items": [{"id": 17}]}), of_json(201, {})]
    steps = (LOGIN[0], StepOptions(**{**_fields(LOGIN[1]), "extract": {"first": "json:items[0].id"}}), LOGIN[2])
    found = probe(site, url=site.url, step=steps, variables={"user": 'a"b&c', "password": "pass-word"})
    outcome = checked(found)
    assert (outcome.failure, outcome.words, [name for name, _ in outcome.steps]) == ("", "", ["log in", "list", "create"])
    first, second, third = site.seen
    assert (first.json, first.headers["content-type"]) == ({"user": 'a"b&c', "password": "pass-word"}, "application/json")
    assert (second.path, second.headers["authorization"]) == ("/pitches?of=a%22b%26c", 'Bearer to"ken')
    assert (third.body, third.headers["cookie"]) == (b"after=17&x=csrfe1s1", "sid=s1")
    assert [step["name"] for step in found.health(outcome)["steps"]] == ["log in", "list", "create"]


def _fields(options):
    return {name: getattr(options, name) for name in type(options).__dataclass_fields__}


def test_a_step_that_fails_ends_the_check_and_says_which_and_why_without_its_secrets(site):
    site.script = [of_json(200, {"token": "hush-token"})]
    listed = StepOptions(name="list", url="/list", headers={"Authorization": "${token}"}, equals={"who": "nobody"})
    steps = (StepOptions(name="log in", url="/login", extract={"token": "json:token"}), listed, LOGIN[2])
    site.script += [of_json(200, {"who": "hush-token of pass-word"})]
    found = probe(site, url=site.url, step=steps, variables={"first": "", "form": "", "etag": "", "sid": "pass-word"})
    outcome = checked(found)
    assert (outcome.step, outcome.failure, outcome.words) == ("list", "assertion", "who is '*** of ***', not 'nobody'")
    assert ([name for name, _ in outcome.steps], len(site.seen)) == (["log in"], 2)
    record = json.dumps(found.health(outcome)) + repr(outcome) + repr(found.options)
    assert [each for each in ("hush-token", "pass-word") if each in record] == []


def test_what_is_not_in_an_answer_cannot_be_taken_out_of_it(site):
    step = StepOptions(name="log in", url="/", extract={"token": "json:token"})
    assert failed(site, of_json(200, {}), step=(step,)) == ("extract", "there is no token in the answer (json:token)")


def test_two_of_three_failed_attempts_are_down_and_until_then_it_is_asked_again_sooner(site):
    found = probe(site, failed=2, of=3)
    site.script = [of_json(status, BODY) for status in (200, 500, 200, 500, 500, 200, 200)]
    seen = []
    for _ in range(7):
        outcome = checked(found)
        seen.append((outcome.ok, found.undecided, found.health(outcome)["down"]))
    fine, doubt, down = (True, False, False), (False, True, False), (False, False, True)
    assert seen == [fine, doubt, fine, down, down, (True, False, True), fine]


@pytest.mark.slow
def test_each_probe_has_its_place_in_the_interval_the_same_after_every_start():
    names = [f"probe {n}" for n in range(50)]
    made = [Probe(ProbeOptions(name=name, url="http://localhost"), location="x", environment="") for name in names]
    now = 1_764_547_200_000
    first = [each.next_ms(now) for each in made]
    assert all(now < at <= now + 60_000 for at in first)
    assert len(set(first)) > 45
    assert [each.next_ms(at - 1) for each, at in zip(made, first, strict=True)] == first
    assert [each.next_ms(at) for each, at in zip(made, first, strict=True)] == [at + 60_000 for at in first]
