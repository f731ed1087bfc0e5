"""Dashboard writes: silences and drills that a person asks for on the page; the same events that the command line makes."""

from pathlib import Path
from typing import Any

from flows import silence_request as request
from flows.config import Config, ConfigErrors, load
from flows.controls import Controls, append
from flows.dashboard_asked import BadQuestion
from flows.drill import drill, severities_of
from flows.label_checks import unmet
from flows.matcher import MatchError, parse_match
from flows.options import no_such
from flows.run_folder import RunFolder

Row = dict[str, Any]
_DRILL_S = 15.0


class Writes:
    """Silences of a state folder, and drills of a configuration; `folder` None or missing: there are no silences here."""

    def __init__(self, config: Config, folder: Path) -> None:
        """Take the configuration and the state folder of its run."""
        self._config = config
        self._folder = folder

    @property
    def there(self) -> bool:
        """Tell whether the state folder of the run is on this machine."""
        return self._folder.is_dir()

    def silences(self, now: int) -> list[Row]:
        """Give the silences that are in force or will be, those that end first first."""
        if not self.there:
            return []
        found = Controls(RunFolder.at(self._folder).controls).silences()
        rows = [
            {"id": each.id, "state": request.word(each, now), "match": [str(m) for m in each.matchers.all]}
            | {"author": each.author, "reason": each.reason, "start": each.start or None, "end": each.end}
            for each in found
        ]
        return sorted((row for row in rows if row["state"] != "over"), key=lambda row: (row["end"], row["id"]))

    def add(self, asked: Row, author: str, now: int) -> Row:
        """Write a silence down; `try` only tells what it would match. Raises BadQuestion."""
        match = asked.get("match")
        if not isinstance(match, list) or not match or not all(isinstance(each, str) for each in match):
            raise BadQuestion('match: give at least one matcher, such as rule="slow_responses"')
        words = {
            name: asked[name] for name in ("start", "end", "for", "reason") if isinstance(asked.get(name), str) and asked[name]
        }
        try:
            matchers = parse_match(tuple(match))
            span = request.span(words.get("start"), words.get("end"), words.get("for"), now)
            event = request.event(matchers, span, author=author, reason=words.get("reason", ""), now=now)
        except request.BadRequest as error:
            raise BadQuestion(f"{error.field}: {error}" if error.field else str(error)) from None
        except MatchError as error:
            raise BadQuestion(f"match: {error}") from None
        paths = self._paths()
        found, count = request.matched(paths.firing, matchers)
        if asked.get("try") is not True:
            append(paths.controls, [event])
        return {
            "id": event.id,
            "end": event.end,
            "matches": len(found),
            "open": count,
            "warnings": [problem for _, problem in unmet([("", tuple(match))], self._config.rules)],
        }

    def expire(self, name: str, now: int) -> Row:
        """End a silence now. Raises BadQuestion."""
        paths = self._paths()
        if request.unknown(paths.controls, [name]):
            raise BadQuestion(f"no silence {name!r} that has not ended")
        request.expire(paths.controls, name, now)
        return {"id": name}

    def drill(self, rule: str, severity: str | None, now: int) -> Row:
        """Send a marked alert and its end through the channels of a rule's route. Raises BadQuestion."""
        rules = {each.name: each for each in self._config.rules}
        if rule not in rules:
            raise BadQuestion(f"rule: {no_such('rule', rule, rules)}")
        allowed = severities_of(rules[rule])
        chosen = severity or next(iter(allowed), "")
        if chosen not in allowed:
            raise BadQuestion(f"severity: {rule} has {' and '.join(allowed) or 'none that can be tried'}")
        try:
            config = load(self._config.source)  # channels need their secrets, which the page does not hold otherwise
        except ConfigErrors as error:
            raise BadQuestion(f"a drill needs the secrets of the channels: {error}") from None
        found = [each.as_dict() for each in drill(config, rule, severity=chosen, at=now, timeout_s=_DRILL_S)]
        return {"rule": rule, "severity": chosen, "arrivals": found}

    def _paths(self) -> RunFolder:
        if not self.there:
            raise BadQuestion(
                f"the state folder {self._folder} of the run is not on this machine: run the dashboard beside it, or use"
                " `edgewatch silence` there"
            )
        return RunFolder.at(self._folder)
