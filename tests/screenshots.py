"""Pictures of the dashboard for its documentation, made anew: each page in light, dark and on a phone, as PNGs of few colours.

Usage: python -m tests.screenshots [FOLDER] [VIEW ...]      (FOLDER is docs/images where none is given)

The pages show two hours of generated traffic, so that they can be remade and show nobody's data.
"""

import base64
import shutil
import struct
import sys
import tempfile
import zlib
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import sync_playwright

from tests.browser import PROGRAMS, Browser, Visit
from tests.runs import edgewatch
from tests.watched import END, START, served, watched

ROOT = Path(__file__).parents[1]
RANGE = f"from={START}&to={END}"
KEY = "%7B%22ClientRequestHost%22%3A%22api.example.com%22%7D"
VIEWS = {
    "overview": f"overview?{RANGE}",
    "live": "live",
    "explore": f"explore?metric=response_time&{RANGE}",
    "alerts": f"alerts?{RANGE}",
    "alert": f"alerts?rule=high_error_rate&key={KEY}&at={{paged}}",
    "slos": "slos",
    "budgets": f"budgets?{RANGE}",
    "health": f"health?{RANGE}",
    "business": f"business?{RANGE}",
    "pipeline": f"pipeline?{RANGE}",
    "backtests": "backtests?run=stricter",
}
LOOKS = {"light": (1280, 1500, "light"), "dark": (1280, 1500, "dark"), "phone": (390, 1500, "light")}
COLOURS = 256
# The browser itself reads the picture: its pixels come back as 32 bits each.
PIXELS = """async (text) => {
    const image = new Image();
    image.src = 'data:image/png;base64,' + text;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height), ctx = canvas.getContext('2d');
    ctx.drawImage(image, 0, 0);
    const data = ctx.getImageData(0, 0, image.width, image.height).data;
    let out = '';
    for (let i = 0; i < data.length; i += 32768) out += String.fromCharCode(...data.subarray(i, i + 32768));
    return btoa(out);
}"""


def main() -> None:
    """Make them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    chosen = sys.argv[2:] or list(VIEWS)
    with tempfile.TemporaryDirectory() as name, watched(Path(name)) as place, ExitStack() as stack:
        keep_stricter(place.folder)
        (row,) = place.client.query(
            "SELECT toFloat64(toUnixTimestamp(min(at))) * 1000 AS at FROM notifications FINAL"
            " WHERE run = '' AND rule = 'high_error_rate' AND status = 'firing'"
        )
        address, driver = stack.enter_context(served(place)), stack.enter_context(sync_playwright())
        program = next(filter(None, map(shutil.which, PROGRAMS)))
        browser = Browser(driver.chromium.launch(executable_path=program), stack)
        blank = browser.open("about:blank")
        for view in chosen:
            for look, (width, height, scheme) in LOOKS.items():
                visit = browser.open(
                    f"{address}/{VIEWS[view].format(paged=int(row['at']))}", width=width, height=900, scheme=scheme
                )
                ready(visit)
                most = min(height, visit.page.evaluate("document.documentElement.scrollHeight"))
                visit.resize(width, most)
                visit.page.wait_for_timeout(300)
                path = folder / f"dashboard-{view}-{look}.png"
                path.write_bytes(few_colours(blank, visit.page.screenshot(animations="disabled"), width, most))
                sys.stdout.write(f"{path} {path.stat().st_size // 1000} kB {visit.errors}\n")


def keep_stricter(folder: Path) -> None:
    """Keep a run of a stricter configuration beside the live one."""
    text = (folder / "monitor.toml").read_text().replace("warning = 0.01, critical = 0.05", "warning = 0.005, critical = 0.02")
    (folder / "stricter.toml").write_text(text)
    done = edgewatch(
        "replay", "-c", folder / "stricter.toml", "--source", f"archive:{folder / 'logs'}", "--out", folder / "stricter",
        "--into-clickhouse", "--run", "stricter",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def ready(visit: Visit) -> None:
    """Wait until a view is drawn."""
    visit.page.wait_for_selector("h1")
    if visit.page.url.endswith("/live"):  # its first words come from the stream
        visit.page.wait_for_selector("figure canvas")
    visit.page.wait_for_selector("#content:not([aria-busy])")


def few_colours(blank: Visit, png: bytes, width: int, height: int) -> bytes:
    """Write a picture again with a palette: its most frequent colours, then those that are farthest from any of them.

    All others become the nearest of it. Small marks keep their colours that way.
    """
    data = base64.b64decode(blank.page.evaluate(PIXELS, base64.b64encode(png).decode()))
    pixels = np.frombuffer(data, np.uint8).reshape(-1, 4)[:, :3].astype(np.int64)
    numbers = pixels @ np.array([65536, 256, 1], np.int64)
    colours, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    all_of = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], 1)
    kept = np.argsort(-counts, kind="stable")[: COLOURS // 2].tolist()
    apart = np.min([((all_of - all_of[each]) ** 2).sum(1) for each in kept], axis=0)
    while len(kept) < min(COLOURS, len(colours)):
        kept.append(int(np.argmax(apart * np.minimum(counts, 30))))
        apart = np.minimum(apart, ((all_of - all_of[kept[-1]]) ** 2).sum(1))
    palette = all_of[kept]
    nearest = np.concatenate([np.argmin(((part[:, None] - palette) ** 2).sum(2), 1) for part in np.array_split(all_of, 64)])
    rows = np.insert(nearest[places].reshape(height, width), 0, 0, axis=1).astype(np.uint8)
    return _png(width, height, palette.astype(np.uint8), rows)


def _png(width: int, height: int, palette: NDArray[np.uint8], rows: NDArray[np.uint8]) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    body = zlib.compress(rows.tobytes(), 9)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"PLTE", palette.tobytes())
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )


if __name__ == "__main__":
    main()
