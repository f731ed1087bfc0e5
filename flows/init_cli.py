"""Init command: `edgewatch init`: a few questions, or flags, to a working configuration and a test of it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn
from urllib.parse import urlsplit

import typer

from flows.as_json import print_json
from flows.config import BUILT_IN_DATASETS, built_in_text, loads
from flows.options import no_such
from flows.starter import CHANNELS, Answers, Mail, configuration, example_test
from flows.toml_edit import chosen

_BAD_USE = 2
_TOPICS = "logpush.http_requests=http_requests, app.performance=performance"
_BROKERS = "127.0.0.1:9092"
_CLICKHOUSE = "http://127.0.0.1:8123"
_HERE = ("127.0.0.1", "localhost", "::1")


def init(
    config: Annotated[Path, typer.Argument(help="The file to write.")] = Path("monitor.toml"),
    environment: Annotated[str | None, typer.Option(help="Its name, such as production [default: production].")] = None,
    brokers: Annotated[str | None, typer.Option(help=f"Kafka: host:port, comma-separated [default: {_BROKERS}].")] = None,
    topic: Annotated[list[str] | None, typer.Option(help=f"TOPIC=DATASET, again for each [default: {_TOPICS}].")] = None,
    start: Annotated[str, typer.Option(help="Where the first start begins: latest, earliest or a time (RFC 3339).")] = "latest",
    channel: Annotated[
        list[str] | None, typer.Option(help=f"Who hears of alerts, again for each: {', '.join(CHANNELS)} [default: console].")
    ] = None,
    smtp: Annotated[str | None, typer.Option(help="email: the SMTP server.")] = None,
    smtp_user: Annotated[str, typer.Option(help="email: the user name, where the server wants one.")] = "",
    mail_from: Annotated[str | None, typer.Option(help="email: the sender.")] = None,
    mail_to: Annotated[str | None, typer.Option(help="email: who gets it, comma-separated.")] = None,
    alertmanager: Annotated[str | None, typer.Option(help="alertmanager: its addresses, comma-separated.")] = None,
    clickhouse: Annotated[str | None, typer.Option(help=f"URL of ClickHouse, or none [default: {_CLICKHOUSE}].")] = None,
    clickhouse_user: Annotated[str, typer.Option(help="ClickHouse: the user name, where it is not `default`.")] = "",
    secret_files: Annotated[
        str, typer.Option(help="A folder with a file for each secret [default: environment variables].")
    ] = "",
    copy_rules: Annotated[
        bool, typer.Option("--copy-rules", help="Write the built-in metrics and rules into the file.")
    ] = False,
    tests: Annotated[bool, typer.Option(help="Write tests.toml beside it, a test of one of its rules.")] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: what no option says has its default.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")] = False,
) -> None:
    """Write a first configuration, commented and ready to run, and a test of it.

    What no option says is asked; with --yes, or where standard input is no terminal, it has its default. The files hold no
    secrets, only the names of the environment variables (or files) that do.

    Example: edgewatch init --yes --brokers kafka-1:9092 --channel slack --channel pagerduty --clickhouse none
    """
    beside = config.parent / "tests.toml" if tests else None
    there = [str(each) for each in (config, beside) if each is not None and each.exists()]
    if there and not force:
        _bad_use(f"{' and '.join(there)}: there already; --force overwrites, --no-tests writes the configuration alone")
    asker = _Asker(asks=not yes and sys.stdin.isatty())
    name = asker.text("Environment", environment, "production")
    servers = asker.text("Kafka brokers (host:port, comma-separated)", brokers, _BROKERS)
    topics = _topics(topic or _split(asker.text(f"Topics (TOPIC=DATASET; {', '.join(BUILT_IN_DATASETS)})", None, _TOPICS)))
    channels = _channels(channel or _split(asker.text(f"Who hears of alerts ({', '.join(CHANNELS)})", None, "console")))
    given = Mail(host=smtp or "", sender=mail_from or "", to=_split(mail_to or ""), user=smtp_user)
    cluster = asker.needed("Alertmanager (URLs)", alertmanager, "--alertmanager") if "alertmanager" in channels else ""
    answers = Answers(
        environment=name,
        brokers=_split(servers),
        topics=topics,
        start=start,
        channels=channels,
        mail=_mail(asker, given) if "email" in channels else given,
        alertmanager=_split(cluster),
        clickhouse=_clickhouse(asker.text("ClickHouse (URL, or none)", clickhouse, _CLICKHOUSE)),
        clickhouse_user=clickhouse_user,
        secret_files=secret_files,
    )
    _write(answers, config, beside, copy_rules=copy_rules, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Asker:
    """Asks for what no option says, on standard error; or does not ask."""

    asks: bool

    def text(self, question: str, given: str | None, default: str) -> str:
        if given is not None:
            return given
        return str(typer.prompt(question, default=default, err=True)) if self.asks else default

    def needed(self, question: str, given: str | None, option: str) -> str:
        """Give what has no default."""
        if given:
            return given
        if not self.asks:
            _bad_use(f"{option} is missing: it has no default")
        return str(typer.prompt(question, err=True))


def _topics(given: list[str] | tuple[str, ...]) -> dict[str, str]:
    topics = {}
    for pair in given:
        topic, equals, dataset = pair.rpartition("=")
        if not (topic and equals and dataset):
            _bad_use(f"topic {pair!r}: write TOPIC=DATASET; datasets: {', '.join(BUILT_IN_DATASETS)}")
        if dataset not in BUILT_IN_DATASETS:
            _bad_use(f"topic {pair!r}: {no_such('dataset', dataset, BUILT_IN_DATASETS)}")
        topics[topic] = dataset
    return topics


def _channels(given: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    for name in given:
        if name not in CHANNELS:
            _bad_use(f"{no_such('channel', name, dict.fromkeys(CHANNELS))}; docs/channels.md has the others")
    return tuple(dict.fromkeys(given))


def _mail(asker: _Asker, given: Mail) -> Mail:
    return Mail(
        host=asker.needed("SMTP server", given.host, "--smtp"),
        sender=asker.needed("Mail comes from", given.sender, "--mail-from"),
        to=_split(asker.needed("Mail goes to (comma-separated)", ",".join(given.to), "--mail-to")),
        user=given.user,
    )


def _clickhouse(url: str) -> str:
    if url in ("", "none"):
        return ""
    if urlsplit(url).username is not None:
        _bad_use("the ClickHouse URL holds a user: give --clickhouse-user, and the password by its environment variable")
    return url


def _write(answers: Answers, path: Path, beside: Path | None, *, copy_rules: bool, as_json: bool) -> None:
    """Write what has been checked, and say what comes next."""
    text = configuration(answers)
    config = loads(text, path, secrets=False)
    if copy_rules:
        names = [*(each.name for each in config.metrics), *(each.name for each in config.rules)]
        text = configuration(answers, chosen(built_in_text(), names))
        config = loads(text, path, secrets=False)
    files = {path: text}
    if beside is not None and (test := example_test(config)):
        files[beside] = test
    for file, content in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    references = [answers.reference(name).partition(":")[2] for name in answers.secrets()]
    commands = [f"edgewatch test -c {path} {beside}"] if beside in files else [f"edgewatch check -c {path}"]
    if urlsplit(answers.clickhouse).hostname in _HERE:
        commands.append("edgewatch clickhouse --dir clickhouse    # in another terminal, where no ClickHouse runs")
    commands += [f"edgewatch check -c {path} --online", f"edgewatch run -c {path}"]
    if as_json:
        report = {"files": [str(each) for each in files], "secrets": references, "next": commands}
        print_json(report)
        return
    print(f"wrote {' and '.join(map(str, files))}")
    if references:
        print(f"{'write' if answers.secret_files else 'set'} first: {', '.join(references)}")
    print("\n".join(["next:", *(f"  {command}" for command in commands)]))


def _split(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each.strip())


def _bad_use(words: str) -> NoReturn:
    print(f"edgewatch: {words}", file=sys.stderr)
    raise typer.Exit(_BAD_USE)
