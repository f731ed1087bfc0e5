"""The dashboard in a real browser: it draws, zooms, hears of new windows, silences, and serves keyboards and screen readers."""

import json
import re
from importlib import resources

import orjson
import pytest

from flows.controls import Controls
from flows.monitor import replay
from flows.replay_cli import spec_of
from flows.run_folder import RunFolder
from tests.screenshots import keep_stricter
from tests.watched import END, HOUR, START, served, watched

expect = pytest.importorskip("playwright.sync_api", reason="missing service: browser (no playwright)").expect
pytestmark = pytest.mark.slow

VIEWS = {
    "overview": "Overview",
    "live": "Live",
    "explore": "Explore",
    "alerts": "Alerts",
    "slos": "SLOs",
    "budgets": "Budgets",
    "health": "Health",
    "business": "Business",
    "pipeline": "Pipeline",
    "backtests": "Backtests",
}
DRAWN = {"overview": 4, "explore": 2, "alerts": 0, "budgets": 0, "health": 5, "business": 2, "pipeline": 4}
DRAWN |= {"backtests": 2}  # canvases; one where it is not said
LOOKS = {"light": (1280, "light"), "dark": (1280, "dark"), "phone": (390, "dark")}
API = "%7B%22ClientRequestHost%22%3A%22api.example.com%22%7D"
ALERT = f"alerts?rule=high_error_rate&key={API}"
GROUND = {"dark": "rgb(15, 20, 25)", "light": "rgb(246, 247, 249)"}
SERIOUS = {"serious", "critical"}
COLOURS = """() => [...document.querySelectorAll('main canvas')].map((canvas) => {
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data, seen = new Set();
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
    return seen.size;
})"""
SCALES = "edgewatchCharts.plots.map((chart) => [chart.plot.scales.x.min, chart.plot.scales.x.max])"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with watched(tmp_path_factory.mktemp("dashboard")) as found:
        yield found


@pytest.fixture(scope="module")
def again(place):
    """Give the folder of a replay that has not begun, with its state folder: what is silenced there counts in it."""
    out = place.folder / "again"
    RunFolder(out / ".state")
    return out


@pytest.fixture(scope="module")
def stricter(place):
    """Keep a run of a stricter configuration beside the live one; gives its name."""
    keep_stricter(place.folder)
    return "stricter"


@pytest.fixture(scope="module")
def address(place, again):
    with served(place, state=again / ".state") as found:
        yield found


@pytest.fixture
def show(browser, address):
    def opened(path, **options):
        visit = browser.open(f"{address}/{path}", **options)
        ready(visit)
        return visit

    return opened


def ready(visit):
    visit.page.wait_for_selector("h1")
    if visit.page.url.endswith("/live"):  # its first words come from the stream
        visit.page.wait_for_selector("figure canvas")
    visit.page.wait_for_selector("#content:not([aria-busy])")


@pytest.mark.parametrize("view", [*VIEWS, ALERT])
def test_each_view_shows_real_data_without_an_error_a_request_elsewhere_or_a_serious_finding_of_axe(show, stricter, view):
    visit = show(f"backtests?run={stricter}" if view == "backtests" else view)
    assert visit.page.inner_text("h1") == VIEWS.get(view, "high_error_rate on api.example.com")
    assert visit.page.locator(".problem").count() == 0
    visit.page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    for look, (width, scheme) in LOOKS.items():
        visit.resize(width, 800)
        visit.colours(scheme)
        visit.wait(f"getComputedStyle(document.body).backgroundColor === '{GROUND[scheme]}'")
        visit.wait(f"({COLOURS})().every((colours) => colours > 4)")
        assert len(visit.page.evaluate(COLOURS)) >= DRAWN.get(view, 1), look
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width, look
        found = visit.page.evaluate("axe.run(document)")
        serious = [each for each in found["violations"] if each["impact"] in SERIOUS]
        assert [(look, each["id"], [node["html"][:120] for node in each["nodes"]]) for each in serious] == []
        assert len(found["passes"]) > 10
    assert (visit.errors, visit.elsewhere) == ([], [])


def test_a_run_is_beside_live_with_what_differs_marked(show, stricter):
    visit = show(f"backtests?run={stricter}")
    row = visit.page.get_by_role("row", name=re.compile("^high_error_rate"))
    run, live = (int(row.locator("td").nth(place).inner_text()) for place in (4, 5))
    assert run > live > 0
    assert row.locator("td").nth(4).locator("b").count() == 1
    same = visit.page.get_by_role("row", name=re.compile("^slow_database"))
    assert same.first.locator("b").count() == 0


def test_health_business_and_budgets_open_their_charts_in_explore(show):
    visit = show("health")
    expect(visit.page.locator(".components li", has_text="database")).to_contain_text("degraded")
    visit = show("business")
    row = visit.page.get_by_role("region", name="business_amount sum by key").get_by_role("row", name=re.compile("^all"))
    assert row.locator("td").first.inner_text().replace("\u202f", "") == str(sum(1000 + each for each in range(2, 120, 3)))
    visit.page.get_by_role("link", name="investment_made, creator").first.click()
    visit.page.wait_for_url("**/explore?*")
    ready(visit)
    expect(visit.page.locator("figure h3").first).to_have_text("business_events count on investment_made, creator")
    visit = show("budgets")
    row = visit.page.get_by_role("row", name=re.compile("^.api.pitches "))
    expect(row).to_contain_text("500")
    row.get_by_role("link", name="why").click()
    visit.page.wait_for_selector(".verdict")
    assert visit.errors == []


def drag(visit, place, first, last):
    """Drag over a part of what a place shows."""
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    for step, share in enumerate((first, (first + last) / 2, last)):
        visit.page.mouse.move(box["x"] + box["width"] * share, box["y"] + 40)
        if not step:
            visit.page.mouse.down()
    visit.page.mouse.up()


def test_a_drag_zooms_all_charts_and_the_heat_map_the_link_restores_it_and_csv_is_behind_them(show):
    visit = show("explore?metric=response_time&statistic=p50,p99,count&span=6h")
    drag(visit, visit.page.locator(".u-over").first, 0.6, 0.9)
    visit.page.wait_for_url("**zoom=*")
    scales = visit.page.evaluate(SCALES)
    assert len({tuple(each) for each in scales}) == 1 < len(scales)
    assert scales[0][1] - scales[0][0] == pytest.approx(0.3 * 6 * 3600, rel=0.1)
    visit.page.reload()
    ready(visit)
    assert visit.page.evaluate(SCALES)[0] == pytest.approx(scales[0], abs=1)
    drag(visit, visit.page.locator("canvas.heat"), 0.3, 0.8)
    zoomed = "edgewatchCharts.plots[0]?.plot.scales.x"  # there is none while the page is made anew
    visit.wait(f"{zoomed}?.max - {zoomed}?.min < {0.25 * 6 * 3600}")
    ready(visit)
    with visit.page.expect_download() as download:
        visit.page.locator(".heated").get_by_role("link", name="CSV").click()
    assert download.value.path().read_text().splitlines()[0] == "time,low,high,records"


def test_the_first_numbers_are_those_of_the_tables(show, place):
    (row,) = place.client.query(
        "SELECT toFloat64(sum(value)) AS requests FROM window_metrics FINAL WHERE run = '' AND metric = 'requests'"
        " AND statistic = 'count' AND empty(key)"
    )
    visit = show("overview")
    tile = visit.page.locator(".tile", has_text="Requests").first
    assert tile.locator(".value").inner_text().replace("\u202f", "") == f"{row['requests']:.0f}"
    assert tile.locator("svg polyline").count() == 1
    course = visit.page.locator(".tile .spark").first
    course.hover()
    expect(course.locator("title")).to_have_text(re.compile(r"^2025-1[12]-\d\d \d\d:\d\d UTC: "))
    assert course.locator("line.at").count() == 1
    for name in ("Size", "Evictions", "Active"):
        expect(visit.page.locator(".tile", has_text=name).first.locator("svg polyline")).to_have_count(1)


def test_keys_read_a_chart_aloud_and_its_values_its_csv_and_sql_are_behind_it(show):
    visit = show("explore?metric=error_rate")
    chart = visit.page.get_by_role("group", name="Chart: error_rate ratio")
    chart.focus()
    visit.page.keyboard.press("ArrowRight")
    expect(visit.page.locator("figure [role=status]")).to_contain_text("ratio:")
    figure = visit.page.locator("figure").first
    figure.get_by_text("Table").click()
    expect(figure.locator("tbody tr").nth(10)).to_be_attached()  # it is written once it is opened
    figure.get_by_text("SQL").click()
    expect(figure.locator("pre")).to_contain_text("edgewatch.window_metrics")
    with visit.page.expect_download() as download:
        figure.get_by_role("link", name="CSV").click()
    assert download.value.path().read_text().splitlines()[0] == "time,ratio"


def test_choices_in_explore_change_the_chart_and_the_link(show):
    visit = show("explore?metric=response_time&span=6h")
    visit.page.get_by_label("Key", exact=True).select_option(label=visit.page.locator("#key option").nth(1).inner_text())
    visit.page.wait_for_url("**key=*")
    ready(visit)
    visit.page.get_by_role("checkbox", name="p95").check()
    visit.page.wait_for_url("**statistic=p50%2Cp95%2Cp99*")
    ready(visit)
    expect(visit.page.locator("figure h3").first).to_have_text(re.compile("^response_time p50, p95, p99 on "))
    visit.page.go_back()
    visit.page.wait_for_url(lambda url: "statistic" not in url)


def test_from_an_alert_to_its_cause_in_two_clicks(show):
    visit = show("alerts?span=6h")
    visit.page.locator(".timeline a", has_text="high_error_rate").first.click()
    visit.page.wait_for_selector(".verdict")
    ready(visit)
    assert "high_error_rate on api.example.com" in visit.page.inner_text("h1")
    assert visit.page.get_by_role("region", name="Records kept as examples").locator("tbody tr").count() > 0
    assert visit.page.locator("figure canvas").count() == 1
    visit.page.get_by_role("link", name="Window before").click()
    expect(visit.page.locator(".verdict")).to_contain_text("Nothing was said")
    assert visit.errors == []


def test_the_link_of_an_alert_opens_its_view(show, place):
    (row,) = place.client.query(
        "SELECT formatDateTime(at, '%Y-%m-%dT%H:%i:%SZ', 'UTC') AS time FROM notifications FINAL"
        " WHERE rule = 'high_error_rate' AND status = 'firing' ORDER BY at LIMIT 1"
    )
    visit = show(f"alerts?rule=high_error_rate&key={API}&at={row['time']}")
    expect(visit.page.locator(".verdict")).to_contain_text("Said at")


def test_every_chart_of_objectives_and_states_has_its_values_behind_it(show):
    visit = show("slos")
    for view, head in (("slos", "time,budget_left_percent"), ("alerts?span=6h", "rule,key,from,to,state,severity")):
        if view != "slos":
            visit.page.goto(visit.page.url.replace("slos", view))
            ready(visit)
        with visit.page.expect_download() as download:
            visit.page.get_by_role("link", name="CSV").first.click()
        assert download.value.path().read_text().splitlines()[0] == head
        assert visit.page.locator("details.sql").count() > 0
    visit.page.goto(visit.page.url.replace("alerts?span=6h", "live"))
    ready(visit)
    expect(visit.page.locator('.tile:has(.name:text-is("Lag")) .value')).to_have_text(re.compile(r"^\d+$"))


def test_alerts_can_be_lined_up_and_the_link_says_so(show):
    visit = show("alerts?span=6h")
    visit.page.get_by_role("button", name="Line them up").click()
    visit.page.wait_for_selector(".lined canvas")
    expect(visit.page.locator(".lined figure").nth(2)).to_be_attached()
    assert "lined=1" in visit.page.url


def test_a_silence_added_in_the_page_suppresses_in_the_flow(show, place, again):
    visit = show("alerts")
    visit.page.get_by_label("Matchers, one a line").fill("rule=high_error_rate")
    visit.page.get_by_label("Reason").fill("deployment")
    visit.page.get_by_label("Your name").fill("ann")
    visit.page.get_by_role("button", name="Add silence").click()
    expect(visit.page.locator("#silences tbody tr")).to_have_count(1)
    (silence,) = Controls(RunFolder.at(again / ".state").controls).silences()
    assert (silence.author, silence.reason, str(silence.matchers)) == ("ann", "deployment", 'rule="high_error_rate"')
    spec = spec_of(place.folder / "monitor.toml", again, source=f"archive:{place.folder / 'logs'}", start=None, end=None)
    replay(place.config, spec, again, processes=1, report=lambda *_: None)
    records = [orjson.loads(line) for line in (again / "evaluations.ndjson").read_bytes().splitlines()]
    quiet = {row["rule"] for row in records if row["suppressed_by"] == "silence"}
    said = {json.loads(line)["rule"] for line in (again / "notifications.ndjson").read_text().splitlines()}
    assert quiet == {"high_error_rate"}
    assert "high_error_rate" not in said
    assert "slow_database" in said
    visit.page.get_by_role("button", name=f"Expire silence {silence.id}").click()
    expect(visit.page.locator("#silences tbody tr")).to_have_count(0)
    assert visit.errors == []


def test_the_keyboard_reaches_the_content_first_and_every_view(show):
    visit = show("overview")
    visit.page.keyboard.press("Tab")
    assert visit.page.evaluate("document.activeElement.textContent") == "To the content"
    names = []
    for _ in VIEWS:
        visit.page.keyboard.press("Tab")
        names.append(visit.page.evaluate("document.activeElement.firstChild.textContent"))
    assert names == list(VIEWS.values())
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_url("**/backtests*")


def test_a_window_that_closes_is_on_the_page_without_loading_it_again(show, place):
    visit = show("overview?span=6h")
    expect(visit.page.locator("#until")).to_contain_text("Data until 2025-12-01 10:00 UTC")
    before = visit.page.locator(".tile", has_text="Requests").first.locator(".value").inner_text()
    visit.page.evaluate("window.same = true")
    times = {"window_start": "2025-12-01T10:00:00Z", "window_end": "2025-12-01T10:05:00Z"}
    row = {"metric": "requests", "key": {}, "statistic": "count", "value": 1_000_000.0, "count": 1_000_000, "method": "exact"}
    mark = {"at": "2025-12-01T10:05:00Z", "event": "records", "dataset": "http_requests", "topic": "http_requests"}
    place.client.insert("window_metrics", orjson.dumps(row | times))
    place.client.insert("pipeline_events", orjson.dumps(mark | {"partition": "p0", "value": 1.0}))
    expect(visit.page.locator("#until")).to_contain_text("Data until 2025-12-01 10:05 UTC")
    expect(visit.page.locator(".tile", has_text="Requests").first.locator(".value")).not_to_have_text(before)
    assert visit.page.evaluate("window.same")
    assert END - START == 2 * HOUR
