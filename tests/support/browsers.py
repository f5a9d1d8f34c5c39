"""Chromium without a window, for the tests of pages; without it they are skipped by name."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A driver whose profile lies in this folder."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium, of the extra test")
    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs Chromium and its chromedriver, on Debian the packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    quiet = ("quic", "background-networking", "component-update", "sync", "gpu", "dev-shm-usage")
    arguments = ("--headless", "--no-sandbox", "--no-first-run", f"--user-data-dir={profile}", "--window-size=1400,1000")
    for argument in (*arguments, *(f"--disable-{name}" for name in quiet)):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield found
    finally:
        found.quit()


def open_page(browser: Any, page: Path) -> None:
    """Load it, forgetting what was logged before."""
    browser.get_log("browser")
    browser.get(page.as_uri())


def check_no_errors(browser: Any) -> None:
    """Nothing was logged before what is logged here, and nothing of what was generated has run."""
    browser.execute_script("console.warn('the last line')")
    logged: list[str] = []
    for _ in range(100):
        logged += [entry["message"] for entry in browser.get_log("browser")]
        if any("the last line" in message for message in logged):
            break
        time.sleep(0.1)
    assert [message for message in logged if "the last line" not in message] == []
    assert len(logged) == 1
    assert browser.execute_script("return window.hacked") is None
