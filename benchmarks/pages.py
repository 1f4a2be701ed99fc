"""Load and response times of a report in a headless Chromium: `python -m benchmarks.pages report.html`.

Each opening is in a new context, from disk. What is timed of the explorer runs from the event to the end of the frame
that shows its effect; beside it is the processor time of the page's main thread, which other programs of a busy machine
change little. `--throttle 4` slows the processor down to a quarter, as the browser's tools for developers do.
The last line is what the page takes after all that: JavaScript's heap after a collection, and nodes of the document.
"""

import argparse
import shutil
import statistics
from pathlib import Path

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

_PAINTS = "performance.getEntriesByType('paint').length > 1"
_OPENED = """() => {
  const { domContentLoadedEventEnd } = performance.getEntriesByType("navigation")[0];
  return [performance.getEntriesByName("first-contentful-paint")[0].startTime, domContentLoadedEventEnd];
}"""
_TIMED = """async ([selector, value, event]) => {
  const field = document.querySelector(selector), start = performance.now();
  field.value = value;
  field.dispatchEvent(new Event(event, { bubbles: true }));
  await new Promise((shown) => requestAnimationFrame(() => setTimeout(shown)));
  return performance.now() - start;
}"""
_CLICKED = """async (number) => {
  const start = performance.now();
  document.querySelectorAll("#picks a")[number].click();
  await new Promise((shown) => requestAnimationFrame(() => setTimeout(shown)));
  return performance.now() - start;
}"""
_PRESSED = """async (key) => {
  const start = performance.now();
  const focused = document.activeElement;
  focused.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  await new Promise((shown) => requestAnimationFrame(() => setTimeout(shown)));
  const last = document.querySelector("#picks li:last-child");
  if (key === "End" && last.ariaPosInSet !== last.ariaSetSize) throw new Error("not at the end of the list");
  return performance.now() - start;
}"""

Opened = tuple[Page, CDPSession]
"""A page, and what the browser is asked about it through."""
Times = tuple[float, float]
"""Milliseconds until the frame was shown, and of the main thread's processor time."""
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
    parser.add_argument("--throttle", type=float, default=1, help="slow the processor down so many times")
    args = parser.parse_args()
    program = shutil.which(args.chromium)
    if program is None:
        parser.error(f"argument --chromium: must be a program, got {args.chromium!r}")
    if not args.report.is_file():
        parser.error(f"argument report: must be a file, got {str(args.report)!r}")
    times_by_deed, memory = measured(args.report, program, args.openings, args.throttle)
    for what, pairs in times_by_deed.items():
        times, busy = zip(*pairs, strict=True)
        told = f"{what}: median {statistics.median(times):.0f} ms, {min(times):.0f} to {max(times):.0f} ({len(times)})"
        print(f"{told}; main thread {statistics.median(busy):.0f} ms")
    print(f"heap: {memory['JSHeapUsedSize'] / 1e6:.0f} MB, {memory['Nodes']:,.0f} nodes")


def measured(
    report: Path, chromium: str, openings: int, throttle: float
) -> tuple[dict[str, list[Times]], dict[str, float]]:
    """Times by what was done, and the browser's metrics of the page afterwards."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        pages = [_opened(browser, report, throttle) for _ in range(openings)]
        starts = [(*page.evaluate(_OPENED), _metrics(session)["ThreadTime"] * 1000) for page, session in pages]
        times = {
            "first contentful paint": [(first, busy) for first, _, busy in starts],
            "ready": [(ready, busy) for _, ready, busy in starts],
        }
        page, session = pages[-1]
        page.evaluate("document.getElementById('explorer').scrollIntoView()")
        page.wait_for_selector("#picks a")
        times |= {
            deed: [_timed(pages[-1], _TIMED, [selector, value, event]) for value in values]
            for deed, (selector, values, event) in DEEDS.items()
        }
        times["open an example"] = [_timed(pages[-1], _CLICKED, number) for number in range(6)]
        if page.query_selector("#list"):  # earlier pages have a button in place of one list
            page.evaluate("document.querySelector('#picks a').focus()")
            keys = ("End", "Home") * 3
            pressed = [_timed(pages[-1], _PRESSED, key) for key in keys]
            times["go to the end of the list"] = pressed[::2]
        session.send("HeapProfiler.collectGarbage")
        memory = _metrics(session)
        browser.close()
    return times, memory


def _opened(browser: Browser, report: Path, throttle: float) -> Opened:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": throttle})
    session.send("Performance.enable")
    page.goto(report.resolve().as_uri(), wait_until="load")
    page.wait_for_function(_PAINTS)
    return page, session


def _timed(opened: Opened, script: str, argument: object) -> Times:
    page, session = opened
    before = _metrics(session)["ThreadTime"]
    milliseconds: float = page.evaluate(script, argument)
    return milliseconds, (_metrics(session)["ThreadTime"] - before) * 1000


def _metrics(session: CDPSession) -> dict[str, float]:
    """The browser's metrics of the page since it was opened."""
    return {row["name"]: row["value"] for row in session.send("Performance.getMetrics")["metrics"]}


if __name__ == "__main__":
    main()
