"""A headless Chromium of this machine, and what a page did in it that a report must not do."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.isolation import ROOT

NAMES = ("chromium", "chromium-browser", "google-chrome")
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
_QUIET = ("quic", "gpu", "background-networking", "component-update", "sync")
_PATIENCE = 20_000  # milliseconds: the machine may be busy with other tests
_ARGUMENTS = ["--no-sandbox", "--no-first-run", *(f"--disable-{each}" for each in _QUIET)]

# What is wider than the page, or holds more than it shows; tables that scroll by themselves may.
_CUT_OFF = """() => {
  const width = document.documentElement.clientWidth, found = [];
  for (const each of document.body.querySelectorAll("*:not(.skip, .unseen, script, svg *)")) {
    const { left, right } = each.getBoundingClientRect(), style = getComputedStyle(each);
    if (each.parentElement.closest(".wide") || !each.checkVisibility()) continue;
    const block = style.display !== "inline" && !each.matches(".wide, select");
    const holds = block && each.scrollWidth > each.clientWidth + 2;
    if (left < -1 || right > width + 1 || (holds && style.overflowX !== "auto"))
      found.push(`${each.tagName}.${each.className}: ${each.textContent.slice(0, 40)}`);
  }
  return found;
}"""


@dataclass
class Watched:
    """A page, and everything that went wrong on it or left it: console, errors, requests, dialogs."""

    page: Page
    problems: list[str] = field(default_factory=list)

    def wider(self) -> list[str]:
        """What does not fit the width of the viewport."""
        root = "document.scrollingElement"
        scrolls = self.page.evaluate(f"{root}.scrollWidth > {root}.clientWidth")
        return [*(["the page"] if scrolls else []), *self.page.evaluate(_CUT_OFF)]

    def keep(self, name: str, whole: bool = False) -> None:
        """Keep a screenshot, of the whole page or of what is in view."""
        if whole:
            self.page.evaluate("scrollTo(0, 0)")
        self.page.screenshot(path=artefacts() / f"{name}.png", full_page=whole)


def artefacts() -> Path:
    """Where screenshots are kept: the folder that LONGTAIL_ARTIFACTS names, or one beside the tests."""
    folder = Path(os.environ.get("LONGTAIL_ARTIFACTS") or ROOT / "test-artifacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def program() -> str:
    """An installed Chromium; the test is skipped where there is none."""
    found = os.environ.get("LONGTAIL_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no Chromium: LONGTAIL_CHROMIUM is not set, and none of {', '.join(NAMES)} is on the PATH")
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    """The browser, headless."""
    found = program()
    expect.set_options(timeout=_PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=_ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, path: Path, scheme: str = "light", **options: Any) -> Iterator[Watched]:
    """A file in a new context of the browser, opened from disk."""
    context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light", offline=True, **options)
    page = context.new_page()
    page.set_default_timeout(_PATIENCE)
    watched = Watched(page)
    note = watched.problems.append

    def dismiss(dialog: Any) -> None:
        note(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", lambda each: note(f"{each.type}: {each.text}"))
    page.on("pageerror", lambda each: note(f"error: {each}"))
    page.on("dialog", dismiss)
    page.on("request", lambda each: None if each.url.startswith((path.as_uri(), "data:")) else note(each.url))
    page.goto(path.as_uri())
    yield watched
    context.close()
