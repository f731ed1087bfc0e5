"""Report page: the sections of a report for people; `report_figures` draws, `report_alert_page` tells of alerts."""

from collections.abc import Iterator, Sequence
from zoneinfo import ZoneInfo

from flows.report import BY_DAY, BY_HOUR
from flows.report_alert_page import alert_blocks
from flows.report_figures import Figures
from flows.report_measures import Content
from flows.report_numbers import change, key_words, lasted, measured, rate, share, when, whole
from sinks.page import Block, Cell, Column, Page, Section, Table, Tile, Tiles, Words

_PERCENTILES = ("p50", "p90", "p95", "p99", "p999")
_HEADINGS = {"p999": "p99.9"}
_SUMMED = "Percentiles are of the whole range, from the merged histograms of its windows."
_BY_WINDOW = (
    "This source keeps no histograms: p50 to p99.9 are the middle one (median) of the windows' own percentiles,"
    " not percentiles of the range."
)


def page_of(content: Content) -> Page:
    """Lay out a report."""
    zone = ZoneInfo(content["zone"])
    figures = Figures(content, zone)
    sections = [
        Section("At a glance", [Tiles(list(_glance(content)))]),
        Section("Requests", _requests(content, figures, zone)),
        Section("Performance", _performance(content, figures, zone)),
        Section("Cache", _cache(content, figures, zone)),
        Section("Database", _database(content, figures, zone)),
        Section("Users", _users(content, figures, zone)),
        Section("Objectives", _objectives(content)),
        Section("Alerts", list(alert_blocks(content, figures, zone))),
        Section("Worst hosts and endpoints", _worst(content)),
        Section(_by(content), _stretches(content, zone)),
    ]
    if content["other"]:
        sections.append(Section("Other metrics", [_other(content, zone)]))
    sections.append(Section("Data quality", list(_quality(content, zone))))
    return Page(
        title=f"Platform report: {content['environment']}",
        lead=_lead(content, zone),
        sections=sections,
        foot=f"Written by edgewatch from {content['source']}; configuration {content['config_version']}.{figures.thinned}",
    )


def _lead(content: Content, zone: ZoneInfo) -> str:
    span = f"{when(content['from'], zone)} to {when(content['to'], zone)} ({zone}), {lasted(content['to'] - content['from'])}"
    before = content["before"]
    if before is None:
        return f"{span}. There is no data of the period before to compare with."
    whole_before = before["windows"] >= before["expected"]
    part = "" if whole_before else f" (it has {whole(before['windows'])} of {whole(before['expected'])} windows)"
    return f"{span}, compared with the {lasted(content['to'] - content['from'])} before{part}."


def _glance(content: Content) -> Iterator[Tile]:
    """Give the numbers that are read first; what is not measured is left out."""
    now, before = content, content["before"] or {}

    def of(section: str, *path: str) -> tuple[float | None, float | None]:
        return _dig(now.get(section), path), _dig(before.get(section), path)

    for name, pair, write in (
        ("Requests", of("requests", "total"), whole),
        ("Error rate (4xx and 5xx)", of("requests", "error_rate"), share),
        ("Server error rate (5xx)", of("requests", "server_error_rate"), share),
        ("Response time, mean", of("performance", "response_time", "mean"), lambda value: measured(value, "ms")),
        ("Response time, p99", of("performance", "response_time", "p99"), lambda value: measured(value, "ms")),
        ("Cache hit rate", of("cache", "hit_rate"), share),
        ("Database latency, mean", of("database", "latency", "mean"), lambda value: measured(value, "ms")),
        ("Most users in one window", of("users", "most", "value"), whole),
    ):
        if pair[0] is not None:
            yield Tile(name=name, value=write(pair[0]), note=change(*pair, write))
    told = now["alerts"]
    for name, key in (("Pages", "pages"), ("Alert episodes", "episodes")):
        old = before.get("alerts", {}).get(key)
        tone = "critical" if key == "pages" and told[key] else ""
        yield Tile(name=name, value=whole(told[key]), note="" if old is None else f"{whole(old)} before", tone=tone)


def _dig(value: object, path: Sequence[str]) -> float | None:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, int | float) else None


def _requests(content: Content, figures: Figures, zone: ZoneInfo) -> list[Block]:
    found = content["requests"]
    if "left_out" in found:
        return [_left_out(found)]
    tiles = [Tile(name="Total requests", value=whole(found["total"]))]
    for name, rated, worst in (
        ("errors", "error_rate", "worst_error_rate"),
        ("server_errors", "server_error_rate", "worst_server_error_rate"),
    ):
        if name in found:
            words = {"errors": ("Errors (4xx and 5xx)", "Error rate"), "server_errors": ("Server errors", "Server error rate")}[
                name
            ]
            tiles.append(Tile(name=words[0], value=whole(found[name])))
            peak = found[worst]
            note = f"worst window {share(peak['value'])}, {when(peak['at'], zone)}" if peak else ""
            tiles.append(Tile(name=words[1], value=share(found[rated]), note=note))
    if "per_second" in found:
        busiest = found["busiest"]
        note = f"busiest window {rate(busiest['per_second'])}, {when(busiest['at'], zone)}"
        tiles.append(Tile(name="Throughput", value=rate(found["per_second"]), note=note))
    return [Tiles(tiles), *figures.of("requests", "error_rate", "server_error_rate")]


def _performance(content: Content, figures: Figures, zone: ZoneInfo) -> list[Block]:
    found = content["performance"]
    if "left_out" in found:
        return [_left_out(found)]
    names = {"response_time": "Response time", "origin": "Answer of the origin"}
    table = _distributions("Response times", {names[part]: row for part, row in found.items()}, zone)
    return [table, *figures.of("response_time")]


def _distributions(caption: str, rows: dict[str, Content], zone: ZoneInfo) -> Table:
    of_range = all(row["percentiles"] == "range" for row in rows.values())
    columns = [Column("What"), *(Column(name, "number") for name in ("Records", "Mean"))]
    columns += [Column(_HEADINGS.get(name, name), "number") for name in _PERCENTILES]
    columns += [Column("Longest", "number"), Column("Worst window's p99", "number"), Column("at", "plain")]
    lines = []
    for name, row in rows.items():
        cells = [name, whole(row["count"]), measured(row["mean"], row["unit"])]
        cells += [measured(row.get(each), row["unit"]) for each in _PERCENTILES]
        peak = row["worst_p99"]
        cells += [measured(row["max"], row["unit"]), measured(peak["value"], row["unit"]), when(peak["at"], zone)]
        lines.append([Cell(text) for text in cells])
    return Table(caption=caption, note=_SUMMED if of_range else _BY_WINDOW, columns=columns, rows=lines)


def _cache(content: Content, figures: Figures, zone: ZoneInfo) -> list[Block]:
    found = content["cache"]
    if "left_out" in found:
        return [_left_out(found)]
    blocks: list[Block] = []
    if "hit_rate" in found:
        peak = found["worst_hit_rate"]
        note = f"worst window {share(peak['value'])}, {when(peak['at'], zone)}" if peak else ""
        tiles = [Tile(name="Hit rate", value=share(found["hit_rate"]), note=note)]
        tiles += [Tile(name=f"Total {name}", value=whole(found[name])) for name in ("hits", "misses")]
        blocks += [Tiles(tiles), *figures.of("cache_hit_rate")]
    if "latency" in found:
        blocks.append(_distributions("Cache latency", {"Cache latency": found["latency"]}, zone))
    names = {"size": "Size", "evictions": "Evictions"}
    rows = [_gauge_row(words, found[name]) for name, words in names.items() if name in found]
    if not rows:
        return [*blocks, Words("Size and evictions: not measured; records of runtime_stats have them.")]
    return [*blocks, _gauges("The application's cache", rows)]


def _database(content: Content, figures: Figures, zone: ZoneInfo) -> list[Block]:
    found = content["database"]
    if "left_out" in found:
        return [_left_out(found)]
    blocks: list[Block] = []
    if "latency" in found:
        blocks += [_distributions("Database latency", {"Database latency": found["latency"]}, zone), *figures.of("db_latency")]
    pool = found.get("pool")
    if not pool:
        return [
            *blocks,
            Words("Connection pool: not measured; records of runtime_stats have it (pool_active, pool_idle, pool_waiting)."),
        ]
    names = {"active": "Active connections", "idle": "Idle connections", "waiting": "Waiting requests"}
    return [*blocks, _gauges("Connection pool", [_gauge_row(names[name], row) for name, row in pool.items()])]


def _gauge_row(name: str, found: Content) -> list[Cell]:
    return [Cell(name), *(Cell(measured(found[each], "")) for each in ("mean", "min", "max"))]


def _gauges(caption: str, rows: list[list[Cell]]) -> Table:
    return Table(
        caption=caption, columns=[Column(caption), *(Column(name, "number") for name in ("Mean", "Least", "Most"))], rows=rows
    )


def _users(content: Content, figures: Figures, zone: ZoneInfo) -> list[Block]:
    found = content["users"]
    if "left_out" in found:
        return [_left_out(found)]
    tiles = [
        Tile(name="Most in one window", value=whole(found["most"]["value"]), note=when(found["most"]["at"], zone)),
        Tile(name="Mean of the windows", value=whole(found["mean_by_window"])),
        Tile(name="Least in one window", value=whole(found["least"]["value"]), note=when(found["least"]["at"], zone)),
    ]
    words = (
        f"Distinct users do not add up: who comes back in the next window is counted again. So there is no number of users of"
        f" the whole range here, only of windows of {lasted(content['window_ms'])}."
    )
    return [Tiles(tiles), Words(words), *figures.of(found["metric"])]


def _objectives(content: Content) -> list[Block]:
    rows = []
    for each in content["objectives"]:
        head = [Cell(each["name"]), Cell(share(each["objective"]))]
        if each.get("left_out") or each["range"] is None:
            rows.append([*head, Cell(each.get("left_out") or "no data in the range", "muted"), *[Cell("")] * 4])
            continue
        now, period = each["range"], each["period"]
        left = period["budget_left"] if period else None
        worst = ", ".join(f"{key_words(key['key'])} ({share(key['budget_left'])} left)" for key in each["worst"][:3])
        rows.append(
            [
                *head,
                Cell(share(now["attained"]), "good" if now["met"] else "critical"),
                Cell(whole(now["bad"])),
                Cell(share(left), "critical" if left is not None and left < 0 else "good"),
                Cell(lasted(each["period_ms"])),
                Cell(worst),
            ]
        )
    if not rows:
        return [Words("No objectives are configured ([[slo]]).")]
    columns = [
        Column("Objective"),
        *(Column(name, "number") for name in ("Target", "Attained", "Bad records", "Budget left", "of")),
        Column("Least budget left"),
    ]
    note = (
        "Attained is of the range; the budget is of the objective's period up to the end of the range, as far as there is data."
    )
    return [Table(caption="Service level objectives", columns=columns, rows=rows, note=note)]


def _worst(content: Content) -> list[Block]:
    blocks: list[Block] = []
    for each in content["worst"]:
        name, unit, shares = each["metric"], each["unit"], each["kind"] == "ratio"
        columns = [*(Column(by) for by in each["by"])]
        rows = [[Cell(row["key"].get(by, "")) for by in each["by"]] + _figures_of(row, unit) for row in each["rows"]]
        numbers = ("Records", "Bad", "Share", "Excess") if shares else ("Records", "Mean", "p99", "Longest", "Excess time")
        columns += [Column(number, "number") for number in numbers]
        note = (
            "Excess: bad records beyond what the share of all would give."
            if shares
            else "Excess time: records x how much their mean is above that of all."
            + (" p99 of the range." if all("p99" in row for row in each["rows"]) else " p99: of the worst window.")
        )
        blocks.append(Table(caption=f"{name}: the worst", columns=columns, rows=rows, note=note))
    return blocks or [Words("No metric with groups has anything bad to show (group_by).")]


def _figures_of(row: Content, unit: str) -> list[Cell]:
    if "share" in row:
        return [
            Cell(whole(row["total"])),
            Cell(whole(row["bad"])),
            Cell(share(row["share"])),
            Cell(whole(row["excess"]) if row["excess"] else ""),
        ]
    p99 = row.get("p99", row["worst_window_p99"])
    excess = lasted(round(row["excess"])) if unit == "ms" and row["excess"] >= 1 else measured(row["excess"], unit)
    excess = excess if row["excess"] else ""
    return [Cell(whole(row["count"])), *(Cell(measured(value, unit)) for value in (row["mean"], p99, row["max"])), Cell(excess)]


def _by(content: Content) -> str:
    length = content["to"] - content["from"]
    return "Hour by hour" if length <= BY_HOUR else "Day by day" if length <= BY_DAY else "Week by week"


def _stretches(content: Content, zone: ZoneInfo) -> list[Block]:
    known = [
        name
        for name in ("requests", "error_rate", "mean", "p50", "p99", "hit_rate", "users")
        if any(name in row for row in content["stretches"])
    ]
    names = {"requests": "Requests", "error_rate": "Errors", "mean": "Mean time", "p50": "p50", "p99": "p99"}
    names |= {"hit_rate": "Cache hits", "users": "Most users"}
    unit = next((each["unit"] for each in content["courses"] if each["metric"] == "response_time"), "")
    rows = []
    for row in content["stretches"]:
        cells = [Cell(when(row["start"], zone))]
        for name in known:
            value = row.get(name)
            write = whole if name in ("requests", "users") else share if name in ("error_rate", "hit_rate") else None
            cells.append(Cell("" if value is None else write(value) if write else measured(value, unit)))
        rows.append(cells)
    if not rows or not known:
        return [Words("No rows of the built-in metrics.")]
    columns = [Column(f"From ({zone})", "plain"), *(Column(names[name], "number") for name in known)]
    return [Table(caption="From each time to the next", columns=columns, rows=rows)]


def _other(content: Content, zone: ZoneInfo) -> Table:
    rows = [[Cell(row["metric"]), Cell(row["kind"]), Cell("; ".join(_facts(row, zone)))] for row in content["other"]]
    return Table(
        caption="What else is measured", columns=[Column("Metric"), Column("Kind"), Column("Over the range")], rows=rows
    )


def _facts(row: Content, zone: ZoneInfo) -> Iterator[str]:
    match row["kind"]:
        case "count" | "sum":
            yield measured(row["total"], row["unit"])
        case "ratio":
            yield f"{share(row['ratio'])} {row['counts']} of {whole(row['total'])}"
            if row["worst"]:
                yield f"worst window {share(row['worst']['value'])}, {when(row['worst']['at'], zone)}"
        case "distinct":
            yield f"most in one window {whole(row['most']['value'])}, {when(row['most']['at'], zone)}"
        case "gauge":
            span = f"{measured(row['min'], '')} to {measured(row['max'], row['unit'])}"
            yield f"mean {measured(row['mean'], row['unit'])}, {span}"
        case _:
            by = "" if row["percentiles"] == "range" else " (the middle of the windows')"
            yield f"mean {measured(row['mean'], row['unit'])}, p99 {measured(row.get('p99'), row['unit'])}{by}"


def _quality(content: Content, zone: ZoneInfo) -> Iterator[Block]:
    found = content["quality"]
    covers = found["covers"]
    tiles = [
        Tile(name=name, value=whole(found[key]), note=covers, tone="warning" if key != "records" and found[key] else "")
        for name, key in (("Records read", "records"), ("Late records", "late"), ("Dead letters", "dead_letters"))
    ]
    yield Tiles(tiles) if found["partitions"] else Words("How reading went is not recorded for this range.")
    rows = []
    for each in found["datasets"]:
        complete = each["windows"] >= each["expected"]
        gaps = [f"{when(gap['from'], zone)} to {when(gap['to'], zone)}" for gap in each["gaps"][:5]]
        more = len(each["gaps"]) - len(gaps) + each["more_gaps"]
        rows.append(
            [
                Cell(each["dataset"]),
                Cell(f"{whole(each['windows'])} of {whole(each['expected'])}", "good" if complete else "warning"),
                Cell("; ".join(gaps) + (f"; and {more} more" if more else "") or "none"),
            ]
        )
    columns = [Column("Dataset"), Column("Windows with records", "number"), Column("Gaps, the longest first")]
    yield Table(caption="Windows", columns=columns, rows=rows)
    bad = [row for row in found["partitions"] if row["late"] or row["dead_letters"]]
    if bad:
        lines = [
            [Cell(row["partition"]), *(Cell(whole(row[each])) for each in ("records", "late", "dead_letters"))] for row in bad
        ]
        columns = [Column("Partition"), *(Column(name, "number") for name in ("Records", "Late", "Dead letters"))]
        yield Table(caption="Partitions with late records or dead letters", columns=columns, rows=lines, note=covers)


def _left_out(found: Content) -> Words:
    return Words(f"Left out: {found['left_out']}.")
