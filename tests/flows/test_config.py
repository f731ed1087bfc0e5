"""Configuration: what is accepted, and every error as the person at the keyboard reads it."""

from pathlib import Path

import pytest

from flows.config import ConfigErrors, load, loads

ACCEPTANCE = Path(__file__).parent.parent / "acceptance"
PATH = Path("monitor.toml")
MINIMAL = """
[input.kafka]
brokers = ["127.0.0.1:9092"]
topics = { "logpush.http_requests" = "http_requests", "app.performance" = "performance" }
"""


def problems(text, **options):
    with pytest.raises(ConfigErrors) as caught:
        loads(text, PATH, **options)
    return [str(error) for error in caught.value.errors]


def test_the_acceptance_configuration_loads():
    config = load(ACCEPTANCE / "monitor.toml")
    assert [rule.name for rule in config.rules] == ["high_error_rate", "slow_responses", "low_cache_hit_rate", "slow_database"]
    assert (config.window.length_ms, config.window.allowed_lateness_ms, config.window.pane_ms) == (300_000, 60_000, 300_000)
    assert config.rules[0].hold.warning == 2
    assert config.rules[0].cooldown_ms == 900_000
    assert config.topic_datasets() == {"logpush.http_requests": "http_requests", "app.performance": "performance"}
    assert sorted(config.channels) == ["console", "pager"]


def test_every_key_of_the_reference_is_built():
    config = load(ACCEPTANCE / "reference.toml", secrets=False)
    assert config.kafka.labels_of("http_requests") == {"logpush.http_requests": {"zone": "example.com"}}
    assert config.labels == {"platform": "pitchey"}


def test_a_file_without_metrics_and_rules_gets_the_pack_of_its_datasets():
    config = loads(MINIMAL, PATH)
    watched = {rule.metric: rule.thresholds for rule in config.rules}
    seed = ("error_rate", "response_time", "db_latency", "cache_hit_rate", "requests", "unique_users")
    assert set(seed) <= set(watched)
    assert all(limits.warning is not None and limits.critical is not None for limits in watched.values())
    only = loads(MINIMAL.replace(', "app.performance" = "performance"', ""), PATH)
    assert "db_latency" not in {metric.name for metric in only.metrics}


def test_without_routes_critical_pages_and_everything_is_said_in_chat():
    text = (
        MINIMAL + '[channel.slack]\nwebhook_url = "http://127.0.0.1/x"\n[channel.pagerduty]\nrouting_key = "' + "k" * 32 + '"\n'
    )
    routes = loads(text, PATH).routes
    assert [(route.severity, sorted(route.channels)) for route in routes] == [
        (("critical",), ["pagerduty", "slack"]),
        (("warning", "critical"), ["slack"]),
    ]


def test_all_errors_of_a_file_are_said_at_once_with_key_value_and_what_is_allowed():
    text = (
        MINIMAL.replace("127.0.0.1:9092", "localhost")
        + """
colour = 1
[window]
lenght = "5m"
allowed_lateness = 60
hop = "7m"
[[metric]]
name = "errors"
kind = "ratoi"
dataset = "http_requests"
[[metric]]
name = "slow"
kind = "distribution"
dataset = "http_request"
value = "EdgeTimeToFirstByteMs"
[[metric]]
name = "hosts"
kind = "ratio"
dataset = "http_requests"
bad = "EdgeResponseStatuss >= 400"
group_by = ["EdgeResponseStatus"]
[[rule]]
name = "r"
metric = "slow"
statistic = "p98"
above = { warning = "high" }
[[route]]
channels = ["slak"]
"""
    )
    text = text.replace("colour = 1\n", "")
    found = problems("colour = 1\n" + text)
    assert found == [
        (
            "colour: unknown key; allowed: environment, labels, runbooks, zone_quiets_paths, input, receive, ingest, probe,"
            " window, engine, dataset, metric, rule, slo, route, inhibit, mute, channel, clickhouse, heartbeat, health,"
            " status_page, dashboard, observe, app_errors"
        ),
        "input.kafka.brokers: 'localhost' is not host:port",
        (
            "window.lenght: unknown key; did you mean 'length'? allowed: length, hop, allowed_lateness, idle_after, max_ahead,"
            " barrier_wait, stall_after, exact_samples, max_keys, max_open_keys"
        ),
        'window.allowed_lateness: must be a duration such as "90s", "5m", "1h" or "1d", not 60',
        "metric \"errors\".kind: 'ratoi' is not a kind of metric; allowed: count, ratio, distribution, distinct, gauge, sum",
        "rule \"r\".above.warning: must be a number, not 'high'",
        "route #1.channels: no channel 'slak'; there are: console",
        "metric \"slow\".dataset: no dataset 'http_request'; did you mean 'http_requests'?",
        "metric \"hosts\".bad: unknown field 'EdgeResponseStatuss'; did you mean 'EdgeResponseStatus'?",
        'metric "hosts".group_by: EdgeResponseStatus is a number, and a string is needed',
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("= 1", "is not TOML"),
        (MINIMAL + '[window]\nhop = "2m"\n', "window.hop: must divide the window's length"),
        (MINIMAL + "[engine]\nshards = 0\n", "engine.shards: must be 1 to 256, not 0"),
        (MINIMAL + '[engine]\nshards = "8"\n', "engine.shards: must be a whole number, not '8'"),
        (
            MINIMAL + "[channel.chat]\nkind = 'irc'\n",
            "channel.chat.kind: 'irc' is not a kind of channel; allowed: alertmanager",
        ),
        (MINIMAL + "[channel.webhook]\n", "channel.webhook.url: is missing"),
        (
            MINIMAL + "[channel.webhook]\nurl='http://x'\nsecrets='whsec_x'\n",
            "channel.webhook.secrets: must be an array, not a string",
        ),
        (
            MINIMAL + "[channel.webhook]\nurl='http://x'\nheaders='planted'\n",
            "channel.webhook.headers: must be a table, not a string",
        ),
        (MINIMAL + "[clickhouse]\ncluster = 'c'\n", "clickhouse.cluster: not yet"),
        (MINIMAL + "[observe]\nlisten = '9187'\n", "observe.listen: '9187' is not host:port such as 127.0.0.1:9187"),
        (MINIMAL + "[observe]\nlog_level = 'loud'\n", "observe.log_level: 'loud' is not one of debug, info, warning, error"),
        (
            MINIMAL
            + '[[metric]]\nname = "m"\nkind = "count"\ndataset = "http_requests"\n'
            + '[[rule]]\nname = "r"\nmetric = "m"\nstatistic = "count"\nbelow = { warning = 1 }\n'
            + 'overrides = [{ match = { host = "a" }, below = { warning = 2 } }]\n',
            "rule \"r\".overrides[0].match: its alerts have no label 'host'; they have: environment, rule",
        ),
        (MINIMAL + "[[silence]]\n", "silence: silences are not configured: use `edgewatch silence add`"),
        (MINIMAL + "[[inhibit]]\nsource = { a = 'b' }\n", "inhibit #1.target: is missing"),
        (MINIMAL + "[[inhibit]]\nsource = 1\ntarget = ['a']\n", "inhibit #1.source: must be a table or an array, not 1"),
        (MINIMAL + "[[inhibit]]\nsource = ['a']\ntarget = ['b=c']\n", "inhibit #1.source: 'a' is not a matcher; write"),
        (
            MINIMAL + "[[inhibit]]\nsource = { rule = 'high_error_rat' }\ntarget = { team = 'x' }\n",
            "inhibit #1.source: no rule 'high_error_rat'; did you mean 'high_error_rate'?",
        ),
        (
            MINIMAL + "[[route]]\nchannels = ['console']\n[[route.route]]\nmatch = { rule = 'slow' }\n",
            "route #1.route #1.match: no rule 'slow'",
        ),
        (MINIMAL + "[[mute]]\nname = 'm'\nmatch = { rule = 'slow_database2' }\n", "mute \"m\".match: no rule 'slow_database2'"),
        (
            MINIMAL + "[[inhibit]]\nsource = { severity = 'fatal' }\ntarget = { severity = 'warning' }\n",
            "inhibit #1.source: no severity 'fatal'; there are: warning, critical",
        ),
        (MINIMAL + "[[mute]]\nname = 'm'\nzone = 'Mars'\n", "mute \"m\".zone: 'Mars' is not a time zone"),
        (MINIMAL + "[[route]]\nmatch = { a = '=~(' }\nchannels = ['console']\n", "route #1.match: '(' is not a regular"),
        (MINIMAL.replace('"http_requests"', '"requests"'), 'input.kafka.topics."logpush.http_requests": no dataset'),
        ('[input.kafka]\nbrokers = ["a:1"]\n', "input.kafka.topics: is missing"),
        (MINIMAL + '[[rule]]\nname = "r"\nmetric = "x"\nstatistic = "p99"\nabove = { warning = 1 }\n', "no metric 'x'"),
        (
            MINIMAL
            + '[[metric]]\nname = "m"\nkind = "count"\ndataset = "http_requests"\n'
            + '[[rule]]\nname = "r"\nmetric = "m"\nstatistic = "count"\nkeys = "groups"\nbelow = { warning = 1 }\n',
            'rule "r".keys: m has no group_by',
        ),
    ],
)
def test_one_error_and_its_words(text, problem):
    assert any(problem in found for found in problems(text))


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ('["r", "no_data:r"]', "all: 'no_data:r' is made by `no_data = { alert = true }` of r, which is not there"),
        ('["r", "slo:upp"]', "all: no rule 'slo:upp'; did you mean 'slo:up'?"),
        ('["r", "r"]', "all: a rule is named twice"),
        ('["r", "both"]', "all: 'both' is a composite itself"),
    ],
)
def test_a_composite_of_what_is_not_there_is_refused(members, problem):
    text = (
        MINIMAL
        + '[[metric]]\nname = "m"\nkind = "ratio"\ndataset = "http_requests"\nbad = "EdgeResponseStatus >= 500"\n'
        + '[[rule]]\nname = "r"\nmetric = "m"\nstatistic = "ratio"\nabove = { warning = 0.1 }\n'
        + '[[slo]]\nname = "up"\nmetric = "m"\nobjective = 0.99\n'
        + '[[rule]]\nname = "both"\nkind = "composite"\nall = %s\n'
    )
    assert problems(text % members) == [f'rule "both".{problem}']
    assert [each.metric for each in loads(text % '["r", "slo:up"]', PATH).rules if each.kind == "composite"] == ["m"]


def test_a_name_given_twice_is_refused():
    metric = '[[metric]]\nname = "m"\nkind = "count"\ndataset = "http_requests"\n'
    assert problems(MINIMAL + metric * 2) == ['metric "m": the name is given twice']


def test_secrets_come_from_the_environment_or_a_file_and_show_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("EW_SECRET", "planted-password")
    (tmp_path / "key").write_text("k" * 32 + "\n")
    text = MINIMAL + (
        '[clickhouse]\npassword = "env:EW_SECRET"\n[channel.pagerduty]\nrouting_key = "file:key"\n'
        '[input.kafka.client]\n"sasl.password" = "env:EW_SECRET"\n"fetch.min.bytes" = 1\n'
    ).replace("[input.kafka.client]", "[input.kafka.client]")
    config = loads(text, tmp_path / "monitor.toml")
    assert config.clickhouse is not None
    assert config.clickhouse.password == "planted-password"
    assert config.channels["pagerduty"].routing_key == "k" * 32
    assert config.kafka is not None
    assert config.kafka.client == {"sasl.password": "planted-password", "fetch.min.bytes": 1}
    assert "planted-password" not in repr(config)
    assert "k" * 32 not in repr(config)
    monkeypatch.delenv("EW_SECRET")
    assert "clickhouse.password: the environment variable EW_SECRET is not set" in problems(text)
    assert loads(text, tmp_path / "monitor.toml", secrets=False).clickhouse is not None


def test_a_file_that_cannot_be_read_is_named():
    with pytest.raises(ConfigErrors, match=r"nowhere\.toml: cannot be read: No such file"):
        load(Path("nowhere.toml"))


def test_the_version_follows_the_content_not_its_layout():
    assert loads(MINIMAL, PATH).version == loads(MINIMAL + "\n# a comment\n", PATH).version
    assert loads(MINIMAL, PATH).version != loads(MINIMAL + '[window]\nlength = "1m"\n', PATH).version


def test_secrets_in_arrays_and_tables_come_from_outside_too(tmp_path, monkeypatch):
    secret = "whsec_cGxhbnRlZC1zaWduaW5nLXNlY3JldC1vbmU="
    monkeypatch.setenv("SIGNING", secret)
    (tmp_path / "auth").write_text("Bearer planted\n")
    table = '[channel.webhook]\nurl = "http://h"\nsecrets = ["env:SIGNING", "env:MISSING"]\nheaders = { A = "file:auth" }\n'
    text = MINIMAL + table
    with pytest.raises(ConfigErrors, match=r"channel\.webhook\.secrets\[1\]: the environment variable MISSING is not set"):
        loads(text, tmp_path / "monitor.toml")
    made = loads(text.replace(', "env:MISSING"', ""), tmp_path / "monitor.toml").channels["webhook"]
    assert (made.secrets, made.headers, "planted" in repr(made)) == ((secret,), {"A": "Bearer planted"}, False)
    assert loads(text, tmp_path / "monitor.toml", secrets=False).channels["webhook"].secrets[0] == "env:SIGNING"


@pytest.mark.parametrize("url", ["edgewatch.example.com", "https://", "https://e.example.com/?a=b", "javascript:alert(1)"])
def test_a_dashboard_has_an_address_that_a_link_can_be_made_of(url):
    found = problems(MINIMAL + f'[dashboard]\nurl = "{url}"\n')
    assert found == [f"dashboard.url: {url!r} is not an http:// or https:// address without ? and #"]
    assert loads(MINIMAL + '[dashboard]\nurl = "https://e.example.com/x"\n', PATH).policy.dashboard == "https://e.example.com/x"


def test_what_always_comes_late_is_never_stale():
    late = MINIMAL.replace(
        '"app.performance" = "performance"', '"app.performance" = { dataset = "performance", allowed_lateness = "2h" }'
    )
    assert loads(MINIMAL, PATH).engine.stale_after_ms == 1_800_000
    assert loads(late, PATH).engine.stale_after_ms == 2 * (7_200_000 + 60_000)
    assert loads(MINIMAL + "[engine]\nstale_after = '0s'\n", PATH).engine.stale_after_ms == 0
    found = problems(late + "[engine]\nstale_after = '2h'\n")
    assert found == [
        "engine.stale_after: must be longer than windows wait (7260 s: allowed_lateness and idle_after), or 0s for never"
    ]


@pytest.mark.parametrize(
    ("topics", "words"),
    [
        ('"a" = { dataset = "http_requests", sample_rate = 0 }', "sample_rate: must be above 0 and at most 1, not 0"),
        ('"a" = { dataset = "http_requests", sample_rate = 1.5 }', "must be above 0 and at most 1, not 1.5"),
        (
            '"a" = { dataset = "http_requests", sample_rate = 0.5 }, "b" = "http_requests"',
            'input.kafka.topics."a": all topics of http_requests need the same sample_rate',
        ),
    ],
)
def test_a_sample_rate_is_a_share_and_one_for_a_dataset(topics, words):
    with pytest.raises(ConfigErrors) as caught:
        loads(f'[input.kafka]\nbrokers = ["127.0.0.1:9092"]\ntopics = {{ {topics} }}\n', PATH)
    assert words in str(caught.value)
