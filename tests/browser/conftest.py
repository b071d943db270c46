"""A headless Chromium that may reach nothing, and pages opened in it from the disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from sweep.cli import run_command
from sweep.table import Results
from tests.browser.tables import measured, simulated
from tests.patience import HANG_S

expect.set_options(timeout=HANG_S * 1e3)
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; a skip where it is missing, a failure in CI."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        why = "no chromium on PATH (make browser-test installs it)"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass(slots=True)
class Opened:
    """A page that was opened, and all that went wrong in it."""

    page: Page
    trouble: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


Opener = Callable[..., Page]


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Opener]:
    """Open a file; at the end of the test nothing may have been fetched, and nothing told on the console."""
    all_opened: list[Opened] = []

    def open_page(file: Path, hash: str = "", **context: Any) -> Page:
        given = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **context}
        page = chromium.new_context(**given).new_page()
        page.set_default_timeout(HANG_S * 1e3)
        opened = Opened(page)
        all_opened.append(opened)

        def decide(route: Route) -> None:
            opened.requests.append(route.request.url)
            route.continue_() if route.request.url.startswith(file.as_uri()) else route.abort()

        page.context.route("**/*", decide)
        page.on("console", lambda said: opened.trouble.append(said.text))
        page.on("pageerror", lambda error: opened.trouble.append(str(error)))
        page.on("dialog", lambda dialog: (opened.trouble.append(dialog.message), dialog.dismiss()))
        page.goto(f"{file.as_uri()}{hash}")
        page.locator("#rows-count").filter(has_text="row").wait_for()
        return page

    yield open_page
    for one in all_opened:
        assert one.trouble == []
        assert [url for url in one.requests if not url.startswith("file:")] == []
        one.page.context.close()


def page_of(results: Results) -> Path:
    assert run_command(["html", str(results.folder)]) == 0
    return results.page_file


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Measured rows with all that can go wrong, and their page."""
    results = measured(tmp_path_factory.mktemp("results") / "night")
    page_of(results)
    return results


@pytest.fixture(scope="session")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Simulated rows only, and their page."""
    results = simulated(Results(tmp_path_factory.mktemp("results") / "predicted"))
    page_of(results)
    return results


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Measured rows and predictions of the same points, and their page."""
    results = simulated(measured(tmp_path_factory.mktemp("results") / "mixed", repeats=1))
    page_of(results)
    return results
