"""Own errors: what goes wrong in edgewatch itself, sent to Sentry by its SDK, and what may not leave with it.

Errors are the lines of the log at `error` and above, what no one caught, and what ended a thread. Guarantee: best effort. The
SDK sends in the background, never waits, and drops what does not fit: the alerts themselves go by channels.

Why scrubbing by hand: the SDK's own looks at names alone, and leaves contexts, tags, messages and texts of exceptions as they
are. Here every value is looked at, by the name that leads to it and for the secrets of the configuration.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from flows.observe_options import ObserveOptions
from sinks.http import scrub, url_secrets
from sinks.sentry_project import environment_name

_FILTERED = "[Filtered]"
_NAMES = re.compile(
    r"(?i)pass(word|wd|phrase)?|pwd|secrets?|tokens?|(set-)?cookies?|authorization|credentials?|dsn|signature|session(id)?"
    r"|.*[_-](password|secret|token|cookie|authorization|key|dsn|pem)|(api|routing|private|access)-?key|webhook[_-]?url|x-.*-(key|token)"
)
_CLIENT = re.compile(r"password|secret|token|pem|key|oauthbearer\.config")  # of a Kafka client's settings, those that are
_PRODUCTION, _IN_PRODUCTION = "production", 0.1
_SHORTEST = 6  # what is shorter stands in every text
_DEEPEST = 20
_CLOUDFLARE = ("colo", "ray", "country")


def report_own_errors(options: ObserveOptions, environment: str, config: object) -> bool:
    """Send errors from now on; false without a DSN. `config` is where the secrets are that no event may hold."""
    if not options.sentry_dsn:
        return False
    import sentry_sdk  # noqa: PLC0415  (who has no DSN is spared the import)
    from sentry_sdk.integrations.atexit import AtexitIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.dedupe import DedupeIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.excepthook import ExcepthookIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.logging import LoggingIntegration  # noqa: PLC0415
    from sentry_sdk.integrations.threading import ThreadingIntegration  # noqa: PLC0415

    rate = options.traces_sample_rate
    scrubber = Scrubber(secrets_of(config))
    sentry_sdk.init(
        dsn=options.sentry_dsn,
        environment=environment_name(environment),
        release=f"edgewatch@{version('edgewatch')}",
        server_name="edgewatch",
        traces_sample_rate=sample_rate(environment) if rate is None else rate,
        send_default_pii=False,
        include_local_variables=False,
        max_breadcrumbs=50,
        shutdown_timeout=2,
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        spotlight=False,
        integrations=[
            LoggingIntegration(),
            ExcepthookIntegration(),
            ThreadingIntegration(propagate_hub=False),
            DedupeIntegration(),
            AtexitIntegration(callback=lambda *_: None),
        ],
        before_send=scrubber.event,
        before_send_transaction=scrubber.event,
        before_breadcrumb=loud,
    )
    return True


def sample_rate(environment: str) -> float:
    """Give the share of traces that is kept."""
    return _IN_PRODUCTION if environment == _PRODUCTION else 1.0


def loud(crumb: Any, hint: Mapping[str, Any]) -> Any:
    """Drop what was written for debugging."""
    del hint
    return None if crumb.get("level") == "debug" else crumb


def secrets_of(config: object) -> tuple[str, ...]:
    """Give the values of all secret options in a configuration, the longest first."""
    return tuple(sorted({each for each in _secrets(config) if len(each) >= _SHORTEST}, key=lambda each: (-len(each), each)))


def _secrets(config: object) -> Iterator[str]:
    if isinstance(config, Mapping):
        for each in config.values():
            yield from _secrets(each)
    elif isinstance(config, list | tuple):
        for each in config:
            yield from _secrets(each)
    elif dataclasses.is_dataclass(config):
        for column in dataclasses.fields(config):
            value = getattr(config, column.name)
            # Settings of a Kafka client are found in many ways, and show nowhere.
            yield from _strings(value) if column.metadata.get("secret") or not column.repr else _secrets(value)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = [each for name, each in value.items() if "." not in name or _CLIENT.search(name)]
    for each in value if isinstance(value, list | tuple) else [value]:
        if isinstance(each, str):
            yield each
            yield from url_secrets(each) if "://" in each else each.split()


class Scrubber:
    """Takes out of an event what may not leave: by the names of values, and the given secrets wherever they stand."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        """Take the secrets, the longest first: one within another would leave the rest of that."""
        self._secrets = secrets

    def event(self, event: Any, hint: Mapping[str, Any]) -> Any:
        """Give the event without secrets, with where at Cloudflare it happened; also check-ins and transactions pass here."""
        try:
            clean = self._table(event, 0)
            request = clean.get("request")
            if isinstance(request, dict):
                request.pop("cookies", None)
                headers = request.get("headers") or {}
                request["headers"] = {name: text for name, text in headers.items() if not _NAMES.fullmatch(name)}
            found = cloudflare(hint)
            if found:
                clean.setdefault("contexts", {})["cloudflare"] = self._value(found, 0)
        except Exception as error:  # noqa: BLE001  the SDK would drop the event without a word
            kept = {
                name: event[name] for name in ("event_id", "timestamp", "platform", "level", "environment") if name in event
            }
            return {**kept, "message": f"an error could not be scrubbed ({type(error).__name__}), so it is left out"}
        return clean

    def _table(self, table: Mapping[str, Any], depth: int) -> dict[str, Any]:
        return {
            name: _FILTERED if isinstance(name, str) and depth > 0 and _NAMES.fullmatch(name) else self._value(value, depth + 1)
            for name, value in table.items()
        }

    def _value(self, value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            return _FILTERED
        if isinstance(value, str):
            return scrub(value, self._secrets)
        if isinstance(value, bytes):
            return _FILTERED
        if isinstance(value, Mapping):
            return self._table(value, depth)
        return [self._value(each, depth + 1) for each in value] if isinstance(value, list | tuple) else value


def cloudflare(hint: Mapping[str, Any]) -> dict[str, str]:
    """Give colo, ray and country where an exception, or a line of the log, says so in `cf`."""
    error = (hint.get("exc_info") or (None, None, None))[1]
    found = getattr(error, "cf", None) or getattr(hint.get("log_record"), "cf", None)
    return {name: str(found[name]) for name in _CLOUDFLARE if found.get(name)} if isinstance(found, Mapping) else {}
