"""The explorer of a report in a real browser: sorting, filters, addresses, selection, by mouse, finger and keyboard."""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from analysis.report import Findings
from orchestrator.report.campaign_text import number
from tests.browser import DESKTOP, PHONE, Watched, opened
from tests.report.explorer_page import addresses, opens, picks, told, violations
from workers.common.arrays import Integers

pytestmark = pytest.mark.browser

COLUMNS = "each => getComputedStyle(each).gridTemplateColumns.split(' ').length"


def links_to(ids: Integers) -> list[str]:
    """Addresses of training examples."""
    return [f"#train-{each}" for each in ids]


def shown_first(page: Page, ids: Integers) -> None:
    """The list begins with these examples."""
    expect(picks(page).first).to_have_attribute("href", f"#train-{ids[0]}")
    links = addresses(picks(page))
    assert links == links_to(ids[: len(links)])


def filtered(page: Page, count: int, of: str = "1,437 training examples") -> None:
    """The list has so many examples."""
    expect(told(page)).to_have_text(f"{count:,} of {of}")


def ranking(values: pd.Series) -> Integers:
    """Examples, the highest first; those without a value last."""
    plain = values.to_numpy()
    return np.lexsort((np.arange(len(plain)), -np.nan_to_num(plain.round(9), nan=-9)))


def test_sort_filter_and_search(desktop: Watched, report: tuple[Path, Findings]) -> None:
    page, (_, found) = desktop.page, report
    assert found.mem is not None and found.cscore is not None and found.predictions is not None
    mem, cscore = found.mem["mem"].to_numpy(), found.cscore["cscore"].to_numpy().round(9)
    given, predicted = found.labels.given_label, found.predictions.label
    ranked = ranking(found.mem["mem"])
    shown_first(page, ranked)
    page.locator("[name=label]").select_option("7")
    filtered(page, (given == 7).sum())
    page.get_by_label("At least").fill("0.5")
    page.get_by_label("At most").fill("0.9")
    page.get_by_label("At most").press("Enter")
    among = (given == 7) & (mem >= 0.5) & (mem <= 0.9)
    filtered(page, among.sum())
    shown_first(page, ranked[among[ranked]])

    # A second score; the first one's limits stay when the sorting changes.
    page.get_by_role("button", name="Add filter").click()
    second = page.get_by_role("group", name="Filter 2")
    second.get_by_label("Score").select_option("cscore")
    second.get_by_label("At most").fill("0.3")
    second.get_by_label("At most").press("Enter")
    page.locator("[name=sort]").select_option(label="C-score")
    expect(page.locator("[name=order]")).to_have_value("-1")
    among &= cscore <= 0.3
    filtered(page, among.sum())
    expect(picks(page).first).to_contain_text(number(cscore[among].min()))
    page.locator("[name=order]").select_option("highest first")
    expect(picks(page).first).to_contain_text(number(cscore[among].max()))
    second.get_by_role("button").click()
    page.get_by_role("button", name="Remove filter 1").click()
    filtered(page, (given == 7).sum())

    page.locator("[name=predicted]").select_option("1")
    filtered(page, ((given == 7) & (predicted == 1)).sum())
    page.locator("[name=label]").select_option("all")
    page.locator("[name=predicted]").select_option("another class")
    filtered(page, ((predicted >= 0) & (predicted != given)).sum())
    page.locator("[name=sort]").select_option("mem_width")
    page.locator("[name=predicted]").select_option("any class")
    width = (found.mem["high"] - found.mem["low"]).where(found.mem["mem"].notna())
    expect(picks(page).first.locator("b")).to_have_text(number(width.max()))
    page.locator("[name=sort]").select_option("n_in")
    expect(picks(page).first.locator("b")).to_have_text(str(found.mem["n_in"].max()))

    page.get_by_label("Find ids").fill("3, 17 90-95")
    filtered(page, 8)
    assert {*addresses(picks(page))} == {*links_to(np.array([3, 17, *range(90, 96)]))}
    for text, answer in (
        ("1437", "There is no training example 1437 in this file."),
        ("x", "Ids are numbers and ranges, such as 3, 17 90-95: x is none."),
    ):
        page.get_by_label("Find ids").fill(text)
        expect(told(page)).to_have_text(answer)
    page.get_by_label("Find ids").fill("")
    page.get_by_role("combobox", name="Examples").select_option("test")
    filtered(page, 360, "360 test examples")
    expect(page.locator("[name=predicted]")).to_be_hidden()


def test_a_cell_of_the_confusion_matrix_filters_the_list(desktop: Watched, report: tuple[Path, Findings]) -> None:
    page, (_, found) = desktop.page, report
    assert found.predictions is not None
    given, predicted = found.labels.given_label, found.predictions.label
    label, other = next((a, b) for a, b in zip(given, predicted, strict=True) if b not in (a, -1))
    address = f"#label={label}&predicted={other}"
    page.locator(f".confusion a[href='{address}']").click()
    filtered(page, ((given == label) & (predicted == other)).sum())
    expect(page.locator("[name=label]")).to_have_value(str(label))
    expect(page.locator("[name=predicted]")).to_have_value(str(other))
    assert page.evaluate("location.hash") == address
    links = links_to(np.flatnonzero((given == label) & (predicted == other)))
    assert set(addresses(picks(page))) <= set(links)


def test_addresses_hold_what_is_shown(desktop: Watched, report: tuple[Path, Findings]) -> None:
    page, (path, found) = desktop.page, report
    assert found.mem is not None and found.predictions is not None
    given, mem, predicted = found.labels.given_label, found.mem["mem"].to_numpy(), found.predictions.label

    def at_address(hash_: str) -> None:
        assert page.evaluate("location.hash") == hash_

    page.evaluate("location.hash = 'label=4&predicted=other&mem=0.2..&sort=cscore&order=high'")
    filtered(page, ((given == 4) & (predicted != 4) & (predicted >= 0) & (mem >= 0.2)).sum())
    expect(page.locator("[name=label]")).to_have_value("4")
    expect(page.get_by_label("At least")).to_have_value("0.2")
    page.locator("[name=order]").select_option("lowest first")
    at_address("#label=4&predicted=other&mem=0.2..&sort=cscore")
    page.get_by_role("button", name="Remove filter").click()
    at_address("#label=4&predicted=other&sort=cscore")
    page.go_back()
    expect(page.get_by_label("At least")).to_have_value("0.2")
    page.go_back()
    expect(page.locator("[name=order]")).to_have_value("1")
    page.go_forward()
    page.go_forward()
    expect(page.get_by_label("At least")).to_have_value("")
    # A new page with the address shows the same, with its example.
    link = addresses(picks(page))[0]
    picks(page).first.click()
    address = f"#label=4&predicted=other&sort=cscore&open={link[1:]}"
    at_address(address)
    page.goto(f"{path.as_uri()}{address}")
    page.reload()
    opens(page, f"Training example {link.split('-')[1]}")
    assert addresses(picks(page))[0] == link
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    at_address("#label=4&predicted=other&sort=cscore")
    # What means nothing is left out.
    page.evaluate("location.hash = 'label=99&sort=none&mem=x..&size=<b>&view=table&nothing=1..2'")
    filtered(page, 1437)
    expect(page.locator("#rows tbody tr").first).to_be_visible()

    for name, sort in (("Long tail", "mem_low"), ("Label errors", "suspect"), ("Disagreements", "predicted_share")):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.locator("[name=sort]")).to_have_value(sort)
    assert found.forgetting is not None
    page.get_by_role("link", name="Never learned").click()
    filtered(page, (found.forgetting["n_learned"] == 0).sum())


def test_back_and_close_leave_the_page_where_it_is(desktop: Watched) -> None:
    page = desktop.page
    # From a gallery far above the explorer.
    gallery = page.locator("#memorized figure a").nth(8)
    gallery.scroll_into_view_if_needed()
    where = page.evaluate("scrollY")
    for leave in ("Close", "back"):
        gallery.click()
        opens(page, f"Training example {(gallery.get_attribute('href') or '').split('-')[1]}")
        page.go_back() if leave == "back" else page.get_by_role("button", name="Close").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert page.evaluate("scrollY") == where
    # From the list, scrolled, with the page scrolled meanwhile.
    page.locator("#list").evaluate("each => { each.scrollIntoView(); each.scrollTop = 9000; }")
    box = page.locator("#list").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 50, box["y"] + 300)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.evaluate("scrollBy(0, -40)")
    before = page.evaluate("[scrollY, document.getElementById('list').scrollTop]")
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert page.evaluate("[scrollY, document.getElementById('list').scrollTop]") == before
    assert page.evaluate("document.activeElement.matches('#picks a')")


def test_list_is_bounded_and_ends_in_one_gesture(desktop: Watched, report: tuple[Path, Findings]) -> None:
    page, (_, found) = desktop.page, report
    assert found.mem is not None
    ranked = ranking(found.mem["mem"])
    picks(page).first.focus()
    for key, place in (("End", -1), ("Home", 0), ("PageDown", None), ("End", -1)):
        page.keyboard.press(key)
        if place is not None:
            expect(picks(page).and_(page.locator(":focus"))).to_have_attribute("href", f"#train-{ranked[place]}")
        assert page.locator("#picks li").count() < 120
    expect(page.locator("#picks li").last).to_have_attribute("aria-posinset", "1437")
    page.locator("#list").evaluate("each => { each.scrollTop = 0; }")
    expect(picks(page).first).to_have_attribute("href", f"#train-{ranked[0]}")
    page.locator("[name=size]").select_option("large")
    columns = page.locator("#picks").evaluate(COLUMNS)
    page.locator("[name=size]").select_option("small")
    assert columns < page.locator("#picks").evaluate(COLUMNS)


def test_select_and_export_by_mouse(desktop: Watched, report: tuple[Path, Findings]) -> None:
    page, (_, found) = desktop.page, report
    assert found.mem is not None and found.cscore is not None
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ranked = ranking(found.mem["mem"])
    selected = page.locator("#selected")
    expect(selected).to_have_text("None selected")
    expect(page.get_by_role("button", name="Copy ids")).to_be_disabled()
    page.get_by_role("checkbox", name=f"training example {ranked[1]}", exact=False).first.check()
    picks(page).nth(4).click(modifiers=["Shift"])
    picks(page).nth(2).click(modifiers=["ControlOrMeta"])
    expect(selected).to_have_text("3 selected")
    expect(page.get_by_role("dialog")).to_have_count(0)
    ids = sorted(int(ranked[place]) for place in (1, 3, 4))
    page.get_by_role("button", name="Copy pandas line").click()
    expect(page.locator("#announced")).to_have_text("Copied a line for pandas.")
    frame = found.mem
    line = page.evaluate("navigator.clipboard.readText()")
    assert line == f'frame[frame["example_id"].isin({ids})]'
    assert eval(line, {"frame": frame})["example_id"].tolist() == ids  # noqa: S307 - what a reader does with it
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download CSV").click()
    table = pd.read_csv(io.StringIO(Path(downloading.value.path()).read_text()))
    assert downloading.value.suggested_filename == "longtail-train.csv"
    assert table["example_id"].tolist() == ids
    for name, frame in (("mem", found.mem), ("cscore", found.cscore)):
        expected = frame.iloc[ids]
        np.testing.assert_allclose(table[name], expected[name], atol=1e-8)
        np.testing.assert_allclose(table[f"{name}_low"], expected["low"].where(expected[name].notna()), atol=1e-4)
    assert table["given_label"].tolist() == found.labels.given_label[ids].tolist()
    page.get_by_role("button", name="Show selected").click()
    filtered(page, 3)
    page.get_by_role("button", name="Copy ids").click()
    expect(page.locator("#announced")).to_have_text("Copied 3 ids.")
    assert page.get_by_label("Find ids").input_value() == page.evaluate("navigator.clipboard.readText()")
    page.get_by_role("button", name="Clear").click()
    page.get_by_label("Find ids").fill("")
    page.locator("[name=label]").select_option("2")
    page.get_by_role("button", name="Select all").click()
    expect(selected).to_have_text(f"{(found.labels.given_label == 2).sum()} selected")
    page.get_by_role("combobox", name="Examples").select_option("test")
    expect(selected).to_have_text("None selected")


def test_keyboard_alone(desktop: Watched) -> None:
    page = desktop.page

    def focused() -> str:
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle !== 'none'")
        return str(page.evaluate("document.activeElement.getAttribute('href') ?? document.activeElement.textContent"))

    page.reload()
    page.keyboard.press("Tab")
    assert focused() == "#main"
    expect(page.get_by_role("link", name="Skip to the findings")).to_be_in_viewport()
    # The list is filled once it comes into view, and the skip link is far above it.
    page.get_by_text("Select all").focus()
    expect(picks(page).first).to_be_visible()
    page.keyboard.press("Tab")
    links = addresses(picks(page))
    assert focused() == links[0]
    columns = page.locator("#picks").evaluate(COLUMNS)
    for key, place in (
        ("ArrowRight", 1),
        ("ArrowDown", 1 + columns),
        ("ArrowLeft", columns),
        ("ArrowUp", 0),
        ("ArrowRight", 1),
    ):
        page.keyboard.press(key)
        assert focused() == links[place]
    # Space selects, and from there the buttons export.
    for key in ("Space", "ArrowRight", "Space", "ArrowRight", "Shift+Space"):
        page.keyboard.press(key)
    expect(page.locator("#selected")).to_have_text("3 selected")
    page.keyboard.press("ControlOrMeta+a")
    expect(page.locator("#selected")).to_have_text("1,437 selected")
    page.keyboard.press("Shift+Tab")
    assert focused() == "Clear"
    page.keyboard.press("Enter")
    expect(page.locator("#selected")).to_have_text("None selected")
    page.get_by_text("Select all").focus()
    page.keyboard.press("Tab")
    assert focused() == links[3]
    page.keyboard.press("Enter")
    example = [link.split("-")[1] for link in links]
    opens(page, f"Training example {example[3]}")
    assert focused() == f"Training example {example[3]}"
    for key, place in (("ArrowRight", 4), ("ArrowRight", 5), ("ArrowLeft", 4)):
        page.keyboard.press(key)
        opens(page, f"Training example {example[place]}")
    for name in ("←", "→", "Close", "Values"):
        page.keyboard.press("Tab")
        assert focused() == name
    page.keyboard.press("Enter")
    expect(page.locator("#detail details[open]")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert focused() == links[4]
    page.get_by_label("Find ids").fill("3")
    page.keyboard.press("Enter")
    opens(page, "Training example 3")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Find ids")).to_be_focused()


def test_plots_filter(desktop: Watched, report: tuple[Path, Findings]) -> None:
    page, (_, found) = desktop.page, report
    assert found.mem is not None and found.cscore is not None
    mem, cscore = found.mem["mem"].to_numpy(), found.cscore["cscore"].to_numpy()

    def limits(number: int) -> tuple[float, float]:
        group = page.get_by_role("group", name=f"Filter {number}")
        low, high = (float(group.get_by_label(name).input_value()) for name in ("At least", "At most"))
        return low, high

    box = page.locator(".histogram").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.7 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, middle)
    page.mouse.up()
    low, high = limits(1)
    assert low < high
    filtered(page, ((mem >= low) & (mem <= high)).sum())
    page.get_by_role("button", name="Remove filter").click()
    page.get_by_text("Scatter plot").click()
    dot = page.locator("#scatter circle").first
    dot.click(force=True)
    (low, high), (least, most) = limits(1), limits(2)
    among = (mem >= low) & (mem <= high) & (cscore >= least) & (cscore <= most)
    assert among.any()
    filtered(page, among.sum())
    assert violations(page, "#explorer") == []


def test_table(desktop: Watched, report: tuple[Path, Findings]) -> None:
    page, (_, found) = desktop.page, report
    assert found.cscore is not None
    page.locator("[name=view]").select_option("table")
    rows = page.locator("#rows tbody tr")
    expect(rows.first).to_be_visible()
    assert rows.count() < 60
    page.locator("#rows").get_by_role("columnheader", name="C-score").get_by_role("button").click()
    expect(page.locator("[name=sort]")).to_have_value("cscore")
    expect(page.locator("#rows").get_by_role("columnheader", name="C-score")).to_have_attribute(
        "aria-sort", "ascending"
    )
    lowest = found.cscore.iloc[found.cscore["cscore"].argmin()]
    expect(rows.first).to_contain_text(f"{number(lowest['low'])} to {number(lowest['high'])}")
    rows.first.get_by_role("link").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(rows.nth(1).get_by_role("checkbox")).to_be_checked()
    page.keyboard.press("End")
    expect(rows.last).to_have_attribute("aria-rowindex", "1438")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page, "#explorer") == []
    assert desktop.wider() == []
    desktop.keep("table-desktop-light")


def test_finger_selects_and_exports(browser: Browser, report: tuple[Path, Findings]) -> None:
    with opened(browser, report[0], "dark", permissions=["clipboard-read", "clipboard-write"], **PHONE) as watched:
        page = watched.page
        page.locator("#selection").scroll_into_view_if_needed()
        checks = page.locator("#picks .select")
        size = checks.first.bounding_box()
        assert size is not None and min(size["width"], size["height"]) >= 24
        for place in (0, 2):
            checks.nth(place).tap()
        page.get_by_role("button", name="Copy ids").tap()
        ids = sorted(int(addresses(picks(page))[place].split("-")[1]) for place in (0, 2))
        expect(page.locator("#announced")).to_have_text("Copied 2 ids.")
        assert page.evaluate("navigator.clipboard.readText()") == ", ".join(map(str, ids))
        # Where the browser refuses, the text is there to be copied.
        page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('refused')); }")
        page.get_by_role("button", name="Copy pandas line").tap()
        expect(page.get_by_label("Text to copy")).to_have_value(re.compile(r"^frame\[frame\["))
        assert violations(page, "#explorer") == []
        assert watched.wider() == [] and watched.problems == []


def test_forced_colours_and_print(browser: Browser, report: tuple[Path, Findings]) -> None:
    with opened(browser, report[0], forced_colors="active", **DESKTOP) as watched:
        page = watched.page
        page.goto(f"{report[0].as_uri()}#open=test-3&label=1")
        page.reload()
        opens(page, "Test example 3")
        page.locator("#picks .select").first.check()
        marked = page.locator("li:has(.select:checked) .pick")
        assert marked.evaluate("each => getComputedStyle(each).borderTopStyle") == "solid"
        colours = page.locator(".histogram rect").evaluate_all("bars => bars.map((bar) => getComputedStyle(bar).fill)")
        assert len({*colours}) >= 1
        assert violations(page, "#explorer") == []
        watched.keep("forced-colours")
        page.emulate_media(media="print", forced_colors="none")
        expect(page.locator("#explorer")).to_be_hidden()
        expect(page.locator("#memorized img").first).to_be_visible()
        assert watched.problems == []
