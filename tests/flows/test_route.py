"""Routes inside of routes: who takes an alert, what is inherited, and what `edgewatch route test` shows of it."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.alert import Alerting
from flows.checks import describe
from flows.config import ConfigErrors, loads
from flows.inhibit import Chooser
from flows.labels import Labels, Subject
from flows.matcher import parse_match
from flows.metric import MetricOptions
from flows.policy import PolicyOptions
from flows.route import RouteOptions, Routes, every_route, routes_of, taken_by
from flows.rule import RuleOptions, Thresholds, compile_rule
from tests.flows.history import Settings, result_of, rule
from tests.runs import edgewatch

TREE = """
labels = { platform = "edge" }

[[route]]
match = { team = "shop" }
channels = ["chat"]
group_by = ["rule"]
limit = 3

[[route.route]]
severity = ["critical"]
channels = ["pager"]
continue = true

[[route.route]]
match = { host = "=~beta.*" }
limit = 7

[[route.route.route]]
match = { rule = "high_error_rate" }
channels = []
group_by = []

[[route]]
channels = ["mail"]

[channel.chat]
kind = "console"
[channel.pager]
kind = "console"
[channel.mail]
kind = "console"
"""


def options():
    return loads(TREE, Path("monitor.toml")).routes


def taken(severity="warning", **labels):
    return [route.path for route in taken_by(routes_of(options()), labels | {"severity": severity}, severity)]


def test_the_innermost_routes_that_fit_take_an_alert():
    assert taken(team="edge") == ["route #2"]
    assert taken(team="shop") == ["route #1"]
    assert taken("critical", team="shop") == ["route #1.route #1"]
    assert taken("critical", team="shop", host="beta1") == ["route #1.route #1", "route #1.route #2"]
    assert taken(team="shop", host="beta1", rule="high_error_rate") == ["route #1.route #2.route #1"]


def test_what_a_route_leaves_out_is_that_of_the_route_around_it():
    found = every_route(routes_of(options()))
    assert [(each.number, each.channels, each.group_by, each.limit) for each in found] == [
        (0, ("chat",), ("rule",), 3),
        (1, ("pager",), ("rule",), 3),
        (2, ("chat",), ("rule",), 7),
        (3, (), (), 7),
        (4, ("mail",), (), 50),
    ]


def test_an_alert_goes_to_the_channels_of_the_innermost_routes_and_is_grouped_by_theirs():
    window = result_of(0, {("error_rate", f'{{"host":"{host}"}}'): (0.4, 1000) for host in ("a", "b", "beta")})
    inner = (RouteOptions(match={"host": "beta"}, group_by=()), RouteOptions(severity=("critical",), channels=("page",)))
    routes = (RouteOptions(match={"team": "edge"}, channels=("chat",), group_by=("rule",), route=inner),)
    policy = PolicyOptions(modes={"chat": "digest", "page": "digest"})
    decisions = Alerting(Settings((rule(),), routes=routes), policy).evaluate(window)
    assert [(each.key["host"], each.channels) for each in decisions.notifications] == [
        ("a", ("page",)),
        ("b", ("page",)),
        ("beta", ("chat",)),
    ]
    assert [(each.channels, each.title.split(":")[0]) for each in decisions.messages] == [
        (("chat",), "High error rate on beta"),
        (("page",), "2 alerts"),
    ]


matches = st.sampled_from([{}, {"a": "1"}, {"a": "2"}, {"b": "1"}])
severities = st.sampled_from([("warning", "critical"), ("critical",), ("warning",)])


def trees(inside):
    return st.builds(
        RouteOptions,
        match=matches,
        severity=severities,
        channels=st.just(("chat",)),
        continue_=st.booleans(),
        route=inside,
    )


route_lists = st.lists(
    st.recursive(trees(st.just(())), lambda each: trees(st.lists(each, max_size=3).map(tuple)), max_leaves=12), max_size=4
)
labels_of = st.fixed_dictionaries({}, optional={"a": st.sampled_from("123"), "b": st.sampled_from("12")})


@given(route_lists, labels_of, st.sampled_from(["warning", "critical"]))
def test_a_tree_is_taken_from_its_leaves_and_a_flat_list_up_to_the_first_without_continue(given_routes, labels, severity):
    tree = routes_of(given_routes)
    every = every_route(tree)
    assert [each.number for each in every] == list(range(len(every)))

    def fits(route):
        return severity in route.severity and route.matchers.matches(labels)

    def expected(routes):
        fitting = [route for route in routes if fits(route)]
        last = next((n for n, route in enumerate(fitting) if not route.goes_on), len(fitting))
        found: list[int] = []
        for route in fitting[: last + 1]:
            inside = expected(route.inner)
            found.extend(inside or [route.number])
        return found

    found = [route.number for route in taken_by(tree, labels, severity)]
    assert found == expected(tree) == sorted(set(found))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('channels = ["pager"]', 'channels = ["pagr"]', "route #1.route #1.channels: no channel 'pagr'"),
        ("limit = 7", "limit = 0", "route #1.route #2.limit: must be at least 1, not 0"),
        ("limit = 7", "limits = 7", "route #1.route #2.limits: unknown key; did you mean 'limit'?"),
        ('{ rule = "high_error_rate" }', '{ rule = "=~(" }', "route #1.route #2.route #1.match: '('"),
        ('channels = ["mail"]', 'severity = ["warning"]', "route #2.channels: is missing; names of channels"),
        (
            "limit = 3",
            'severity = ["warning"]',
            "route #1.route #1.severity: never comes: the route around it takes warning only",
        ),
    ],
)
def test_a_problem_is_named_by_its_place_in_the_tree(old, new, problem):
    with pytest.raises(ConfigErrors) as caught:
        loads(TREE.replace(old, new), Path("monitor.toml"))
    assert any(str(error).startswith(problem) for error in caught.value.errors), caught.value


def test_routes_inside_are_tables():
    with pytest.raises(ConfigErrors, match=r"route #1\.route: must be an array of tables, not 3"):
        loads('[[route]]\nchannels = ["console"]\nroute = 3\n', Path("monitor.toml"))


def test_the_check_shows_each_route_with_those_around_it():
    shown = describe(loads(TREE, Path("monitor.toml")))["routes"].split("; ")
    assert shown[1:3] == [
        'warning/critical of team="shop" > critical -> pager',
        'warning/critical of team="shop" > warning/critical of host=~"beta.*" -> chat',
    ]


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "monitor.toml"
    path.write_text(TREE)
    return path


def test_the_command_shows_who_takes_an_alert(config):
    done = edgewatch("route", "test", "-c", config, "team=shop", "rule=high_error_rate", "severity=critical")
    assert (done.returncode, done.stdout) == (0, "critical  route #1.route #1 (everything) -> pager\n"), done.stderr
    both = edgewatch("route", "test", "-c", config, "--json", "team=edge")
    assert [(row["severity"], row["channels"]) for row in json.loads(both.stdout)] == [
        ("critical", ["mail"]),
        ("warning", ["mail"]),
    ]


def test_the_command_says_where_nobody_would_hear(config):
    done = edgewatch("route", "test", "-c", config, "team=shop", "host=beta", "rule=high_error_rate", "severity=warning")
    assert (done.returncode, "-> nobody" in done.stdout) == (1, True)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("rule=high_eror_rate", "did you mean 'high_error_rate'?"),
        ("severity=bad", "give warning or critical"),
        ("team", "write name=value"),
    ],
)
def test_the_command_refuses_what_cannot_be_meant(config, label, words):
    done = edgewatch("route", "test", "-c", config, label)
    assert (done.returncode, words in done.stderr) == (2, True), done.stderr


ANY_SIGN = st.sampled_from(["", "!=", "=~", "!~"])
WORDS = st.sampled_from(["a", "b", "rule", "critical"])
MATCHES = st.dictionaries(st.sampled_from(["rule", "severity", "team", "host"]), st.builds("{}{}".format, ANY_SIGN, WORDS))
OPTIONS = st.builds(
    RouteOptions,
    match=MATCHES,
    severity=st.sampled_from([("warning",), ("critical",), ("warning", "critical")]),
    channels=st.just(("chat",)),
    continue_=st.booleans(),
)
FLAT = st.lists(st.builds(replace, OPTIONS, route=st.lists(OPTIONS, max_size=2).map(tuple)), max_size=4)
ALERTS = st.lists(st.tuples(st.integers(0, 3), WORDS, st.integers(1, 2)), min_size=1, max_size=12)


def compiled(name, labels):
    metric = MetricOptions(name="m", kind="count", dataset="d", group_by=("host",))
    return compile_rule(
        RuleOptions(name=name, metric="m", statistic="count", above=Thresholds(warning=1.0), labels=labels), metric
    )


@given(FLAT, ALERTS)
def test_what_is_remembered_of_routes_and_matchers_is_what_all_labels_would_give(options, alerts):
    labels, routes = Labels("e", {"team": "a"}), Routes(options, Labels("e", {"team": "a"}))
    chooser = Chooser(parse_match(options[0].match if options else {}), ("host",))
    own = {"team": "b", "host": "c"}
    rules = [compiled(name, more) for name, more in (("a", {}), ("b", own), ("rule", {}), ("critical", own))]
    for number, host, severity in alerts:
        chosen, key = rules[number], json.dumps({"host": host} if host != "b" else {})
        seen = labels.of(chosen, key, severity)
        want = tuple(each.number for each in taken_by(routes_of(options), seen, seen["severity"]))
        assert routes.taken(chosen, key, severity) == want
        matched = parse_match(options[0].match if options else {}).matches(seen) and "host" in seen
        subject = Subject(chosen.options.name, key, severity)
        labels_of = partial(labels.of_subject, chosen)
        assert chooser.choose(subject, labels_of) == ((seen["host"],) if matched else None)
