"""Pages in a real browser: they stand alone, draw, zoom, speak, follow light and dark, fit a phone, and run nothing of logs."""

import numpy as np
import pytest

from sinks.chart import Limit, Line, Mark, Point, Scatter, Span, TimeChart, thin
from sinks.page import Cell, Column, DayBar, DayBars, Figure, Page, Section, Table, Tile, Tiles, html

pytestmark = pytest.mark.slow

START, STEP, HOUR = 1_764_547_200_000, 300_000, 3_600_000
DAY = 24 * HOUR
HOSTILE = "</script><script>hit(1)</script><img src=x onerror=hit(2)><svg onload=hit(3)>\"'><b>"
HALF, WHOLE = [START // 1000, (START + DAY) // 1000], None
FITS = "chart.plot.width === chart.host.clientWidth"
RANGE = "edgewatchCharts.plots[{}].plot.scales.x"
DRAWN = """(index) => {
    const canvas = document.querySelectorAll('.chart canvas')[index];
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data, seen = new Set();
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200) seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
    return [...seen];
}"""


def time_chart(**changes):
    values = 1 + np.sin(np.arange(288) / 9)
    values[100:112] = 9
    given = {
        "unit": "%",
        "times": START + np.arange(288) * STEP,
        "lines": [Line(name="error rate", values=values)],
        "shown": (START, START + DAY),
        "step": STEP,
        "limits": [Limit(name="critical above 5 %", value=5.0)],
        "states": [Span(start=START + 101 * STEP, end=START + 113 * STEP, name="firing")],
        "incidents": [Span(start=START + 99 * STEP, end=START + 112 * STEP, name="error-surge")],
        "marks": [Mark(at=START + 101 * STEP, text="High error rate on api: 9 %", kind="critical", pager=True)],
    }
    return TimeChart(**given | changes)


def scatter():
    points = [Point(x=float(n), y=n / 10, colour=60.0 * n, text=f"critical = {n}", front=True) for n in range(1, 9)]
    return Scatter(x_name="pages a week", y_name="recall", colour_name="minutes to detect", points=points)


def days():
    times = START + np.arange(7) * DAY
    lines = [Line(name="pages", values=np.arange(7.0)), Line(name="others", values=np.ones(7))]
    return TimeChart(unit="", times=times, lines=lines, shown=(START, START + 7 * DAY), step=DAY, bars=True)


@pytest.fixture
def show(browser, tmp_path):
    """Open a page of these charts and make them all."""

    def opened(*charts, title="Report", blocks=(), **options):
        path = tmp_path / "page.html"
        figures = [Figure(title=f"{title} {number}", chart=each) for number, each in enumerate(charts)]
        page = Page(title=title, lead=title, sections=[Section(title, [*blocks, *figures])], foot=title)
        path.write_text(html(page), encoding="utf-8")
        visit = browser.open(path, **options)
        visit.page.evaluate("edgewatchCharts.startAll()")
        visit.wait(f"edgewatchCharts.plots.length === {len(charts)}")
        settled(visit)
        assert visit.requests == [path.as_uri()]
        return visit

    return opened


def settled(visit):
    """Wait until every chart has the width of its place: it follows that after the layout, and other things move then."""
    visit.wait(f"edgewatchCharts.plots.every((chart) => {FITS})")


def x_range(visit, number=0):
    return visit.page.evaluate(f"[{RANGE.format(number)}.min, {RANGE.format(number)}.max]")


def drag(visit, start, end, number=0):
    """Drag over a part of a chart, and wait until the zoom is through."""
    over = visit.page.locator(".u-over").nth(number)
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    middle = box["y"] + box["height"] / 2
    visit.page.mouse.move(box["x"] + box["width"] * start, middle)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + box["width"] * (start + end) / 2, middle)
    visit.page.mouse.move(box["x"] + box["width"] * end, middle)
    visit.page.mouse.up()


def zoomed(visit, number=0):
    """Wait until a chart shows less than all, or all again."""
    visit.wait(f"document.querySelectorAll('.chart')[{number}].classList.contains('zoomed')")


def whole(visit, number=0):
    visit.wait(f"!document.querySelectorAll('.chart')[{number}].classList.contains('zoomed')")


def test_a_page_draws_all_kinds_of_charts_without_an_error_or_a_request(show):
    visit = show(time_chart(), days(), scatter())
    for number in range(3):
        assert len(visit.page.evaluate(DRAWN, number)) > 5
    assert (visit.elsewhere, visit.errors) == ([], [])


def test_a_drag_zooms_all_charts_of_the_same_time_and_a_double_click_shows_all_again(show):
    visit = show(time_chart(), time_chart(), days())
    assert x_range(visit) == HALF
    drag(visit, 0.25, 0.5)
    zoomed(visit)
    first, last = x_range(visit)
    assert (first - HALF[0], last - HALF[0]) == (pytest.approx(6 * 3600, abs=300), pytest.approx(12 * 3600, abs=300))
    assert x_range(visit, 1) == [first, last]
    assert x_range(visit, 2) == [START // 1000, (START + 7 * DAY) // 1000]
    visit.page.locator(".u-over").nth(1).dblclick()
    whole(visit)
    assert (x_range(visit), x_range(visit, 1)) == (HALF, HALF)


def test_buttons_and_keys_zoom_and_read_the_chart_aloud(show):
    visit = show(time_chart())
    visit.page.get_by_role("button", name="Zoom in").click()
    zoomed(visit)
    first, last = x_range(visit)
    assert last - first == DAY // 2000
    visit.page.get_by_role("button", name="Show all").click()
    whole(visit)
    chart = visit.page.locator(".drawn")
    chart.focus()
    visit.page.keyboard.press("+")
    zoomed(visit)
    visit.page.keyboard.press("0")
    whole(visit)
    assert x_range(visit) == HALF
    for _ in range(3):
        visit.page.keyboard.press("ArrowRight")
    spoken = visit.page.locator("[role=status]").inner_text()
    assert spoken.startswith("1 Dec 2025, 00:")
    assert "error rate: 1" in spoken


def test_hovering_tells_value_state_incident_and_message(show):
    visit = show(time_chart())
    over = visit.page.locator(".u-over")
    box = over.bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] * 101.3 / 288, box["y"] + 40)
    tip = visit.page.locator(".tip:not([hidden])")
    tip.wait_for()
    text = tip.inner_text()
    for words in ("1 Dec 2025, 08:25", "9\u202f%", "firing", "error-surge", "High error rate on api: 9 %"):
        assert words in text
    visit.page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 40)
    visit.wait("!document.querySelector('.tip').innerText.includes('firing')")


def test_the_point_of_a_front_tells_its_setting_and_a_drag_zooms_both_axes(show):
    visit = show(scatter())
    place = visit.page.evaluate(
        "(() => { const p = edgewatchCharts.plots[0].plot; return [p.valToPos(4, 'x'), p.valToPos(0.4, 'y')]; })()"
    )
    box = visit.page.locator(".u-over").bounding_box()
    visit.page.mouse.move(box["x"] + place[0] + 2, box["y"] + place[1] + 2)
    tip = visit.page.locator(".tip:not([hidden])")
    tip.wait_for()
    assert "critical = 4" in tip.inner_text()
    before = x_range(visit)
    visit.page.mouse.move(box["x"] + 100, box["y"] + 60)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 300, box["y"] + 160)
    visit.page.mouse.move(box["x"] + 400, box["y"] + 200)
    visit.page.mouse.up()
    visit.wait(f"{RANGE.format(0)}.max < {before[1]}")
    visit.page.locator(".u-over").dblclick()
    visit.wait(f"{RANGE.format(0)}.max === {before[1]}")


def test_dark_is_drawn_in_other_colours_at_once(show):
    visit = show(time_chart())
    light, paper = set(visit.page.evaluate(DRAWN, 0)), visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    visit.colours("dark")
    visit.wait(f"getComputedStyle(document.body).backgroundColor !== '{paper}'")
    visit.wait(f"(() => {{ const f = {DRAWN}; return f(0).includes(0x6cb0f5); }})()")
    assert 0x6CB0F5 not in light
    assert 0x0B62B8 in light


def test_a_phone_needs_no_scrolling_sideways(show):
    table = Table(caption="Wide", columns=[Column(f"Column {n}") for n in range(12)], rows=[[Cell("a-long-word-" * 3)] * 12])
    tiles = Tiles([Tile(name="x" * 60, value="1 234 567 890", note="y" * 90)] * 5)
    visit = show(time_chart(), scatter(), title="T" * 80, blocks=[tiles, table], width=360, height=740)
    visit.wait(f"innerWidth === 360 && edgewatchCharts.plots.every((chart) => chart.plot.width < 340 && {FITS})")
    visit.wait("document.documentElement.scrollWidth === 360")
    visit.resize(1000, 700)
    visit.wait("edgewatchCharts.plots[0].plot.width > 900")


def test_texts_of_logs_are_shown_and_never_run(show):
    hostile = time_chart(
        unit=HOSTILE,
        lines=[Line(name=HOSTILE, values=np.ones(288)), Line(name="b", values=np.ones(288))],
        limits=[Limit(name=HOSTILE, value=2.0)],
        states=[Span(start=START, end=START + DAY, name=HOSTILE)],
        incidents=[Span(start=START, end=START + DAY, name=HOSTILE)],
        marks=[Mark(at=START + 100 * STEP, text=HOSTILE, kind=HOSTILE)],
    )
    points = Scatter(
        x_name=HOSTILE,
        y_name=HOSTILE,
        colour_name=HOSTILE,
        points=[Point(x=1.0, y=1.0, colour=1.0, text=HOSTILE, mark=HOSTILE)],
    )
    visit = show(hostile, points, title=HOSTILE)
    assert visit.page.locator(".u-legend").inner_text().count(HOSTILE) == 1
    box = visit.page.locator(".u-over").first.bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] * 100.2 / 288, box["y"] + 40)
    tip = visit.page.locator(".tip:not([hidden])")
    tip.wait_for()
    assert tip.inner_text().count(HOSTILE) >= 3
    assert visit.page.title() == HOSTILE
    assert visit.page.locator("img, svg, b:not(.tip-row b)").count() == 0
    assert visit.page.evaluate("typeof hit") == "undefined"
    assert visit.errors == []


def test_the_policy_of_the_page_stops_what_would_be_put_in_all_the_same(show):
    visit = show(time_chart())
    visit.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit = 1\">')")
    visit.page.evaluate("fetch('http://elsewhere.example/').catch(() => { window.refused = true; })")
    visit.wait("window.refused === true")
    assert visit.page.evaluate("typeof window.hit") == "undefined"
    assert visit.elsewhere == []


def test_a_year_of_windows_on_40_charts_is_a_small_file_that_opens_and_keeps_its_peaks(show, tmp_path):
    count = 105_120
    values = np.random.default_rng(5).random(count)
    values[77_777] = 42.0
    made = thin(START + np.arange(count, dtype=np.int64) * STEP, [values], 10_000)
    year = time_chart(
        times=made.times,
        lines=[Line(name="v", values=made.columns[0])],
        shown=(START, START + count * STEP),
        step=made.each * STEP // 2,
    )
    visit = show(*[year] * 40)
    assert (tmp_path / "page.html").stat().st_size < 10_000_000
    assert visit.page.evaluate("edgewatchCharts.plots[39].plot.scales.y.max") > 42
    assert visit.errors == []


def test_every_chart_is_an_image_with_a_name_and_has_its_table(show):
    visit = show(time_chart(), days(), scatter())
    assert visit.page.locator("canvas[role=img]").count() == 3
    assert [each.get_attribute("aria-label") for each in visit.page.locator("canvas").all()] == [
        "Report 0",
        "Report 1",
        "Report 2",
    ]
    assert visit.page.locator("figure details table caption").count() == 3
    assert visit.page.locator("h1").count() == 1


def test_a_print_has_all_charts_in_light_colours(show):
    visit = show(*[time_chart()] * 8, scheme="dark")
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert 0x0B62B8 in visit.page.evaluate(DRAWN, 7)
    assert visit.page.evaluate("edgewatchCharts.plots.every((chart) => chart.plot.width <= 680)")
    visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert 0x6CB0F5 in visit.page.evaluate(DRAWN, 7)


@pytest.mark.parametrize("width", [1280, 320])
def test_bars_of_days_stand_alone_without_a_script_and_fit_a_phone(browser, tmp_path, width):
    tones = ["good", "warning", "partial", "critical", "muted"]
    days = [DayBar(tones[n % 5], HOSTILE if n == 1 else f"day {n}") for n in range(90)]
    bars = DayBars(
        title=HOSTILE, state="Operational", tone="good", note="99.98 % up", days=days, first="90 days ago", last="today"
    )
    path = tmp_path / "page.html"
    path.write_text(html(Page(title="Status", lead=HOSTILE, sections=[Section("Days", [bars])])), encoding="utf-8")
    visit = browser.open(path, width=width, height=700)
    places = visit.page.evaluate(
        "[...document.querySelectorAll('.days rect')].map(r => [r.getBoundingClientRect().x, r.getBoundingClientRect().width])"
    )
    assert (len(places), all(x >= 0 and x + wide <= width and wide > 1 for x, wide in places)) == (90, True)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    fills = "new Set([...document.querySelectorAll('.days rect')].map(r => getComputedStyle(r).fill)).size"
    for scheme in ("light", "dark"):
        visit.colours(scheme)
        assert visit.page.evaluate(fills) == len(tones)
    assert visit.page.evaluate(
        "[document.scripts.length, document.querySelector('.days rect:nth-child(2) title').textContent]"
    ) == [
        0,
        HOSTILE,
    ]
    assert (visit.errors, visit.requests) == ([], [path.as_uri()])
