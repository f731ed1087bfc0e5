"""Dashboard views: what each view of the page asks, answered from ClickHouse: every answer is plain JSON."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from starlette.requests import Request

from flows import dashboard_alerts, dashboard_chart, dashboard_flow, dashboard_groups, dashboard_live, dashboard_spread
from flows.config import Config
from flows.dashboard_asked import BadQuestion, Given
from flows.dashboard_objectives import left_csv, objective_rows
from flows.dashboard_overview import overview
from flows.dashboard_queries import Remembered
from flows.dashboard_runs import runs
from flows.dashboard_series import limits_of, step_of, unit_of
from flows.report_source import Range
from flows.surroundings import surroundings
from flows.timeline import shown_statistic

Content = Mapping[str, Any]
_STEPS = 120
_HOUR_MS, _LONG_MS = 3_600_000, 7 * 86_400_000


class Views:
    """Answers the questions of a page. Methods raise BadQuestion, DeliveryError, ReportError."""

    def __init__(self, config: Config, database: Remembered, fresh: Remembered, folder: Path, page: Content) -> None:
        """Take two ways to ask: `database` remembers, `fresh` hardly does; `page` is what the page must know of the door."""
        self._config = config
        self.remembered = self._database = database
        self._fresh = fresh
        self._folder = folder
        self._page = page
        self._last = 0

    def meta(self, _: Request) -> Content:
        """Give what there is to look at."""
        config = self._config
        there = dashboard_live.metrics_there(self._database)
        metrics = {metric.name: metric for metric in config.metrics}
        return dict(self._page) | {
            "environment": config.environment,
            "version": config.version,
            "window": config.window.length_ms,
            "until": max(dashboard_live.until(self._database), self._last),
            "database": self._database.database,
            "metrics": [
                {"name": metric.name, "kind": metric.kind, "statistics": list(metric.statistics()), "dataset": metric.dataset}
                | {"group_by": list(metric.group_by), "there": metric.name in there}
                | {"units": {each: unit_of(metric, each) for each in metric.statistics()}}
                for metric in config.metrics
            ],
            "rules": [
                {"name": rule.name, "kind": rule.kind, "metric": rule.metric, "statistic": rule.statistic}
                | {
                    "runbook": rule.runbook,
                    "shows": shown_statistic(rule, metrics[rule.metric]) if rule.metric in metrics else "",
                }
                | {"limits": [each.name for metric in config.metrics for each in limits_of([rule], metric, rule.statistic)]}
                for rule in config.rules
            ],
            "slos": [slo.name for slo in config.slos],
        }

    def overview(self, request: Request) -> Content:
        """Give the tiles, and what fires."""
        over, there = self._hours(request), dashboard_live.metrics_there(self._database)
        found = self._made("overview", request, over, lambda: overview(self._config, self._database, over, there))
        opened = dashboard_alerts.open_alerts(self._config, self._database, dashboard_live.until(self._database))
        return dict(found) | {"open": opened, "from": over.start, "to": over.end}

    def series(self, request: Request) -> Content:
        """Give a chart."""
        over = self._hours(request)
        given = self._given(request)
        return self._made("series", request, over, lambda: dashboard_chart.series(self._config, self._database, given, over))

    def series_csv(self, request: Request) -> str:
        """Give the values of a chart."""
        return dashboard_chart.as_csv(self._config, self._database, self._given(request), self._hours(request))

    def keys(self, request: Request) -> Content:
        """Give the keys of a metric, those with the most records first."""
        given, over = self._given(request), self._hours(request)
        metric = given.metric(self._config.metrics)

        def work() -> Content:
            return {"keys": dashboard_spread.keys(self._database, metric, over, given.text("run"))}

        return self._made("keys", request, over, work)

    def heatmap(self, request: Request) -> Content:
        """Give how values are spread over time."""
        given, over = self._given(request), self._hours(request)
        metric = given.metric(self._config.metrics)
        if metric.kind != "distribution":
            raise BadQuestion(f"metric: {metric.name} is a {metric.kind}; a heat map needs a distribution")
        step = step_of(over, self._config.window.length_ms, _STEPS)
        place = (metric, given.key(), given.text("run"))
        length = self._config.window.length_ms
        work = partial(dashboard_spread.heatmap, self._database, place, over, step, length)
        return self._made("heatmap", request, over, work)

    def heatmap_csv(self, request: Request) -> str:
        """Give the cells of a heat map."""
        return dashboard_spread.heatmap_csv(dict(self.heatmap(request)))

    def flow(self, request: Request) -> Content:
        """Give how reading goes as a chart."""
        return dashboard_flow.flow(self._database, *self._flow(request))

    def flow_csv(self, request: Request) -> str:
        """Give the values of that chart."""
        return dashboard_flow.flow_csv(self._database, *self._flow(request))

    def alerts(self, request: Request) -> Content:
        """Give what fires, states over a range, what was said."""
        over, run = self._over(request), self._given(request).text("run")
        until = over.end if run else dashboard_live.until(self._database)
        found = dashboard_alerts.alerts(self._config, self._database, over, until, run)
        return found | {"from": over.start, "to": over.end}

    def alerts_csv(self, request: Request) -> str:
        """Give the states as CSV."""
        return dashboard_alerts.states_csv(dict(self.alerts(request)))

    def alert(self, request: Request) -> Content:
        """Say why an alert did or did not fire in a window."""
        given = self._given(request)
        at = given.time("at")
        at = dashboard_live.until(self._database) if at is None else at
        key = given.key() if given.text("key") else None
        known = surroundings(self._folder, self._config)
        return dashboard_alerts.why(self._config, self._database, (given.text("rule"), key, at), known)

    def records(self, request: Request) -> Content:
        """Give the decision records of a rule and key over a range."""
        given = self._given(request)
        sql = dashboard_alerts.records_sql(self._database.database, given.text("rule"), given.key(), self._over(request))
        return {"records": self._database.query(sql), "sql": sql}

    def slos(self, _: Request) -> Content:
        """Give each objective: attained, what is left of its budget, how fast it burns."""
        return objective_rows(self._config, self._database, dashboard_live.until(self._database))

    def slos_csv(self, request: Request) -> str:
        """Give how the budget of the objective that is named went down."""
        name = self._given(request).chosen("slo", [slo.name for slo in self._config.slos], "")
        return left_csv(next(row for row in self.slos(request)["slos"] if row["name"] == name))

    def health(self, request: Request) -> Content:
        """Give the components of the status page, and what health checks and the runtime say."""
        over, there = self._over(request), dashboard_live.metrics_there(self._database)
        return dashboard_groups.health(self._config, self._database, over, there)

    def business(self, request: Request) -> Content:
        """Give the events of the business by key."""
        over, there = self._over(request), dashboard_live.metrics_there(self._database)
        return dashboard_groups.groups(self._config, self._database, over, dashboard_groups.BUSINESS, there)

    def budgets(self, request: Request) -> Content:
        """Give what endpoints took against their performance budgets."""
        return dashboard_groups.budgets(self._config, self._database, self._over(request))

    def pipeline(self, request: Request) -> Content:
        """Give how reading goes."""
        over = self._over(request)
        step = step_of(over, self._config.window.length_ms, _STEPS)
        state = dashboard_live.now(self._database, dashboard_live.until(self._database))
        found = dashboard_live.pipeline(self._database, over, step)
        return found | {"now": state, "dead": dashboard_live.dead_letters(self._database), "from": over.start, "to": over.end}

    def runs(self, request: Request) -> Content:
        """Give the runs whose rows are kept, beside the live rows of the same range."""
        return runs(self._config, self._database, self._given(request).text("run"))

    def live(self) -> Content:
        """Give how far windows are now; new rows make remembered answers old."""
        last = dashboard_live.until(self._fresh)
        if last != self._last:
            if self._last:
                self._database.forget()
            self._last = last
        found = dashboard_live.now(self._fresh, last)
        del found["written_s"]  # it grows while nothing happens
        opened = dashboard_alerts.open_alerts(self._config, self._database, last)
        firing = [{name: row[name] for name in ("rule", "key", "state", "severity", "since")} for row in opened]
        return found | {"alerts": firing, "settled": self._database.settled}

    def _flow(self, request: Request) -> tuple[Range, int, str]:
        over = self._over(request)
        event = self._given(request).chosen("event", dashboard_flow.EVENTS, "records")
        return over, step_of(over, self._config.window.length_ms, _STEPS), event

    def _given(self, request: Request) -> Given:
        return Given(request.query_params, time.time())

    def _over(self, request: Request) -> Range:
        return self._given(request).over(dashboard_live.until(self._database), self._config.window.length_ms)

    def _hours(self, request: Request) -> Range:
        """Give the range; a long one that ends with the data ends at a full hour, so that it is the same until the next."""
        given, length = self._given(request), self._config.window.length_ms
        over = given.over(dashboard_live.until(self._database), length)
        if over.length < _LONG_MS or given.text("to"):
            return over
        return given.over(dashboard_live.closed(self._database, length) // _HOUR_MS * _HOUR_MS, length)

    def _made(self, name: str, request: Request, over: Range, work: Callable[[], Content]) -> Content:
        """Give an answer; that over a range whose windows have all closed stays."""
        if over.end > dashboard_live.closed(self._database, self._config.window.length_ms) or self._given(request).text("run"):
            return work()
        found: Content = self._database.once(f"{name}?{request.url.query} {over.start} {over.end}", work, lasting=True)
        return found
