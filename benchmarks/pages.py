"""Load and response times of a report in a headless Chromium: `python -m benchmarks.pages report.html`.

Each opening is in a new context, from disk. What is timed of the explorer runs from the event to the end of the frame
that shows its effect.
"""

import argparse
import shutil
import statistics
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

_PAINTS = "performance.getEntriesByType('paint').length > 1"
_OPENED = """() => {
  const { domContentLoadedEventEnd } = performance.getEntriesByType("navigation")[0];
  return [performance.getEntriesByName("first-contentful-paint")[0].startTime, domContentLoadedEventEnd];
}"""
_TIMED = """async ([selector, values, event]) => {
  const field = document.querySelector(selector), times = [];
  for (const value of values) {
    const start = performance.now();
    field.value = value;
    field.dispatchEvent(new Event(event, { bubbles: true }));
    await new Promise((shown) => requestAnimationFrame(() => setTimeout(shown)));
    times.push(performance.now() - start);
  }
  return times;
}"""
_CLICKED = """async () => {
  const times = [];
  for (const pick of [...document.querySelectorAll("#picks a")].slice(0, 6)) {
    const start = performance.now();
    pick.click();
    await new Promise((shown) => requestAnimationFrame(() => setTimeout(shown)));
    times.push(performance.now() - start);
  }
  return times;
}"""

DEEDS = {
    "find an id": ("[name=id]", ("1", "17", "100", ""), "input"),
    "filter by class": ("[name=label]", ("0", "1", ""), "change"),
    "sort": ("[name=sort]", ("cscore", "id", "mem"), "change"),
    "turn the order": ("[name=order]", ("1", "-1"), "change"),
    "limit the score": ("[name=low]", ("0.1", "0.5", ""), "change"),
}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--chromium", default="chromium", help="its program, on the PATH or not (default: %(default)s)")
    parser.add_argument("--openings", type=int, default=5)
    args = parser.parse_args()
    program = shutil.which(args.chromium)
    if program is None:
        parser.error(f"argument --chromium: must be a program, got {args.chromium!r}")
    if not args.report.is_file():
        parser.error(f"argument report: must be a file, got {str(args.report)!r}")
    for what, times in measured(args.report, program, args.openings).items():
        print(f"{what}: median {statistics.median(times):.0f} ms, {min(times):.0f} to {max(times):.0f} ({len(times)})")


def measured(report: Path, chromium: str, openings: int) -> dict[str, list[float]]:
    """Milliseconds by what was done."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        pages = [_opened(browser.new_context(viewport={"width": 1280, "height": 900}), report) for _ in range(openings)]
        starts = [page.evaluate(_OPENED) for page in pages]
        times = {"first contentful paint": [first for first, _ in starts], "ready": [ready for _, ready in starts]}
        page = pages[-1]
        page.evaluate("document.getElementById('explorer').scrollIntoView()")
        page.wait_for_selector("#picks a")
        times |= {deed: page.evaluate(_TIMED, list(how)) for deed, how in DEEDS.items()}
        times["open an example"] = page.evaluate(_CLICKED)
        browser.close()
    return times


def _opened(context: Any, report: Path) -> Page:
    page: Page = context.new_page()
    page.goto(report.resolve().as_uri(), wait_until="load")
    page.wait_for_function(_PAINTS)
    return page


if __name__ == "__main__":
    main()
