"""What the HTML page costs: writing it, its size, and how long a browser takes to open and to filter it.

python -m tests.benchmarks.html

5,040 measured points (10 ISL/OSL, 4 layouts, 2 KV dtypes, 7 concurrencies, 9 engines), opened from the disk in headless
Chromium. The browser's times are counted from the start of the navigation; every one is a fresh process's first page.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from sweep.point import MoeBackend
from tests.benchmarks.meter import measure
from tests.browser.tables import measured, points

ROOT = Path(__file__).parent.parent.parent
SHAPES = tuple(itertools.product((128, 512, 1024, 4096, 8192), (1024, 8192)))
ENGINES = [
    {"moe_backend": backend, "mtp_layers": layers}
    for backend in (MoeBackend.CUTLASS, MoeBackend.TRTLLM, MoeBackend.WIDEEP)
    for layers in (0, 1, 3)
]
TURNS = 5

DRAWN = "document.querySelector('#front-plots canvas') && document.querySelector('#row-table tbody tr')"
"""What a reader waits for: the best points, the first charts and the rows."""
SHOWN_MS = f"""() => new Promise((done, failed) => {{
  setTimeout(() => failed(new Error("no chart is drawn after 60 s: is the first one below the screen?")), 60_000);
  const look = () => {DRAWN} ? requestAnimationFrame(() => done(performance.now())) : setTimeout(look, 5);
  look();
}})"""
FILTERED_MS = """() => new Promise((done) => {
  const box = document.querySelector('.filter[data-name="layout"] input');
  const begin = performance.now();
  box.click();
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - begin)));
})"""


def opened(page: Page, file: Path) -> tuple[float, float]:
    """Return the seconds until the page is there, and those that a filter takes."""
    page.goto(file.as_uri(), wait_until="commit")
    return page.evaluate(SHOWN_MS) / 1e3, page.evaluate(FILTERED_MS) / 1e3


def main() -> None:
    """Measure and print."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no chromium on PATH: tests/browser/install.sh installs it")
    with tempfile.TemporaryDirectory() as folder:
        every = itertools.chain.from_iterable(points(SHAPES, **engine) for engine in ENGINES)
        results = measured(Path(folder) / "large", repeats=1, of=every)
        cost = measure([sys.executable, "-m", "sweep", "html", str(results.folder)], cwd=ROOT)
        if cost.exit_code:
            sys.exit(cost.output)
        size = results.page_file.stat().st_size
        print(f"{len(results.load()):,} rows: {size / 1e6:.2f} MB, written in {cost.wall_s:.1f} s", end="")
        print(f" ({cost.cpu_s:.1f} s of CPU, {cost.peak_pss_mb:.0f} MB)")
        times: list[tuple[float, float]] = []
        with sync_playwright() as playwright:
            for _ in range(TURNS):
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
                times.append(opened(browser.new_page(viewport={"width": 1280, "height": 900}), results.page_file))
                browser.close()
        for what, seconds in zip(("opens", "filters"), zip(*times, strict=True), strict=True):
            print(f"{what} in {statistics.median(seconds):.2f} s (median of {TURNS}, {max(seconds):.2f} s at most)")


if __name__ == "__main__":
    main()
