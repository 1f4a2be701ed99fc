"""The report in a real browser: what it shows, how it is explored with mouse, finger and keyboard, and how it looks."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, expect

from analysis.reading.sequences import At
from analysis.report import Findings
from analysis.report.history import learning_history
from benchmarks import pages
from benchmarks.isolation import ROOT
from orchestrator import run_campaign
from orchestrator.report import write_report
from orchestrator.report.campaign_text import number
from tests.browser import DESKTOP, PHONE, Watched, opened, program
from tests.conftest import small_campaign
from tests.report.explorer_page import addresses, opens, picks, violations
from tests.report.test_report import NAMES
from tests.user_code import HOSTILE
from workers.store import Store

pytestmark = pytest.mark.browser

LOOKS = {"desktop-light": (DESKTOP, "light"), "phone-dark": (PHONE, "dark")}
"""Each size and each scheme once: no rule of the styles is about both."""


@pytest.mark.parametrize("look", LOOKS)
def test_looks(browser: Browser, report: tuple[Path, Findings], look: str) -> None:
    size, scheme = LOOKS[look]
    with opened(browser, report[0], scheme, **size) as watched:
        page = watched.page
        page.locator("#explorer").scroll_into_view_if_needed()
        expect(picks(page).first).to_be_visible()
        assert watched.wider() == []
        assert violations(page) == []
        watched.keep(f"report-{look}", whole=True)
        picks(page).nth(1).click()
        opens(page, f"Training example {(addresses(picks(page))[1]).split('-')[1]}")
        assert watched.wider() == []
        assert violations(page, "#detail") == []
        watched.keep(f"detail-{look}")
        assert watched.problems == []


def test_detail_shows_what_is_known(desktop: Watched, report: tuple[Path, Findings]) -> None:
    page, (_, found) = desktop.page, report
    assert found.mem is not None and found.cscore is not None and found.consistency is not None
    page.get_by_label("Find ids").fill("29")
    picks(page).first.click()
    detail = opens(page, "Training example 29")
    mem, cscore = (dict(frame.to_dict("records")[29]) for frame in (found.mem, found.cscore))
    for name, row, runs in (
        ("memorization", mem, f"{mem['n_in']} | {mem['n_out']}"),
        ("C-score", cscore, f"{cscore['n_out']}"),
    ):
        value = number(row["mem" if name == "memorization" else "cscore"])
        cells = [value, f"{number(row['low'])} to {number(row['high'])}", runs]
        expect(detail.get_by_role("row", name=name).locator("td")).to_have_text(cells)
    label = found.store.header.class_names[found.labels.given_label[29]]
    expect(detail).to_contain_text(f"Label {label}")
    assert detail.locator("canvas").first.evaluate(
        "each => each.getContext('2d').getImageData(0, 0, 8, 8).data.some(Boolean)"
    )

    profile, history = detail.locator("details:not(.others)").all()
    profile.get_by_text("Values").click()
    shares = [number(each) for each in found.consistency[:, 29] if not np.isnan(each)]
    expect(profile.locator("tbody td:nth-child(2)")).to_have_text(shares)
    history.get_by_text("Values").click()
    rows = history.locator("tbody tr")
    names: dict[At, str] = {"presentations": "in training", "evaluations": "trained on", "heldout": "held out"}
    for at, name in names.items():
        shown = learning_history(found.store, at, 0.8, np.array([29]), 9)
        texts = rows.filter(has_text=name).locator("td:nth-child(2)").all_inner_texts()
        expected = shown.share[0][~np.isnan(shown.share[0])]
        np.testing.assert_allclose([float(text) for text in texts], expected, atol=0.008)


def test_influence_there_and_back(desktop: Watched, report: tuple[Path, Findings]) -> None:
    page, (_, found) = desktop.page, report
    assert found.top is not None
    page.get_by_role("combobox", name="Examples").select_option("test")
    picks(page).first.click()
    test = int(addresses(picks(page))[0].split("-")[1])
    detail = opens(page, f"Test example {test}")
    helpers = found.top[found.top["test_example_id"] == test].sort_values("infl", ascending=False, kind="stable")
    expect(detail.locator(".pick b")).to_have_text([number(each) for each in helpers["infl"]])
    assert set(addresses(detail.locator(".pick"))) == {f"#train-{each}" for each in helpers["example_id"]}
    helper = addresses(detail.locator(".pick"))[0]
    helper_id = int(helper.split("-")[1])  # noqa: F841 - in the query
    # With these few runs no pair is a discovery.
    influence = found.influence
    assert influence is not None and influence.helpful is not None and influence.helpful.empty
    expect(detail.locator(".pick").first).to_be_hidden()
    detail.get_by_text(f"{len(helpers)} not significant").click()
    detail.locator(".pick").first.click()
    other = opens(page, f"Training example {helper.split('-')[1]}")
    helped = found.top.query("infl > 0 and example_id == @helper_id").nlargest(12, "infl")
    assert len(addresses(other.locator(".pick"))) == len(helped)
    other.locator(".others summary").click()
    other.locator(f'a[href="#test-{test}"]').click()
    opens(page, f"Test example {test}")
    page.go_back()
    opens(page, f"Training example {helper.split('-')[1]}")
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(picks(page).first).to_be_focused()


def test_no_helpers_where_all_runs_agree(browser: Browser, report: tuple[Path, Findings]) -> None:
    path, found = report
    assert found.top is not None
    largest = found.top.groupby("test_example_id")["infl"].max()
    test = int(largest[largest <= 0].index[0])
    with opened(browser, path, **DESKTOP) as watched:
        watched.page.goto(f"{path.as_uri()}#test-{test}")
        detail = opens(watched.page, f"Test example {test}")
        expect(detail).to_contain_text("None raises the share of runs that are right.")
        expect(detail.locator(".pick")).to_have_count(0)


def test_gallery_images_open_where_they_are(desktop: Watched) -> None:
    page = desktop.page
    link = page.locator("#suspects figure a").first
    example = (link.get_attribute("href") or "").split("-")[1]
    link.click()
    detail = opens(page, f"Training example {example}")
    assert detail.evaluate("each => each.matches(':modal')")
    desktop.keep("gallery-desktop-light")
    page.keyboard.press("Escape")
    expect(link).to_be_focused()
    assert page.url.endswith("#explorer")


def test_phone_shows_the_example_alone(browser: Browser, report: tuple[Path, Findings]) -> None:
    with opened(browser, report[0], "dark", **PHONE) as watched:
        page = watched.page
        page.locator("#explorer").scroll_into_view_if_needed()
        picks(page).nth(5).tap()
        box = page.get_by_role("dialog").bounding_box()
        assert box == {"x": 0, "y": 0, **PHONE["viewport"]}
        page.get_by_role("button", name="Close").tap()
        expect(picks(page).nth(5)).to_be_in_viewport()
        # An address with an example opens it: a page that was sent to a colleague.
        top = report[1].top
        assert top is not None
        test = int(top["test_example_id"].to_numpy()[top["infl"].argmax()])
        page.goto(f"{report[0].as_uri()}#test-{test}")
        page.reload()
        opens(page, f"Test example {test}")
        page.locator(".others summary").tap()
        page.get_by_role("dialog").locator(".pick").first.tap()
        expect(page.locator("#detail-title")).to_contain_text("Training example")
        page.go_back()
        opens(page, f"Test example {test}")
        assert watched.problems == []


def test_names_from_outside_run_nothing(browser: Browser, tmp_path: Path) -> None:
    names = ["=1+1", "+1,2", "-cat", "@SUM(A1)", "a=b", *(f"{place}.png" for place in range(5, 60))]
    campaign = small_campaign(
        dataset={"name": "user_code:coloured", "options": {"names": NAMES, "train_names": names}},
        recipe={"epochs": 1, "batch_size": 16},
        subsets={"ratios": [0.5], "repetitions": 6, "seed": 1},
    )
    run_campaign(campaign, tmp_path / "s")
    path = write_report(Store.open(tmp_path / "s"), tmp_path / "r.html").path
    with opened(browser, path, **PHONE) as watched:
        page = watched.page
        page.locator("#explorer").scroll_into_view_if_needed()
        expect(picks(page).first).to_be_visible()
        page.locator("#select-all").click()
        with page.expect_download() as downloading:
            page.get_by_role("button", name="Download CSV").click()
        table = pd.read_csv(downloading.value.path())
        assert table["name"].tolist() == ["'=1+1", "'+1,2", "'-cat", "'@SUM(A1)", *names[4:]]
        assert table["mem"].dtype == float and (table["mem"] < 0).any()  # numbers stay as they are
        page.locator("[name=label]").select_option(HOSTILE)
        picks(page).first.click()
        expect(page.get_by_role("dialog")).to_contain_text(HOSTILE)
        expect(page.get_by_role("dialog")).to_contain_text("The campaign records neither presentations")
        assert watched.wider() == [] and watched.problems == []


def test_without_scripts_all_but_the_explorer(browser: Browser, report: tuple[Path, Findings]) -> None:
    with opened(browser, report[0], java_script_enabled=False, **DESKTOP) as watched:
        page = watched.page
        expect(page.locator("noscript p")).to_have_text("The explorer needs JavaScript; all of the above does not.")
        expect(page.locator("noscript p")).to_be_visible()
        expect(page.locator("#controls")).to_be_hidden()
        for figure in page.locator("figure svg").all():
            expect(figure).to_be_visible()
        expect(page.locator("#memorized img").first).to_be_visible()
        assert watched.problems == []


def test_ci_goes_on_without_a_chromium(tmp_path: Path) -> None:
    script = ROOT / ".ci" / "run"
    subprocess.run([Path(sys.executable).parent / "shellcheck", script], check=True)
    for name in ("bash", "dirname", "timeout"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    for name, code in (("apt-get", 100), ("make", 0)):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"{tmp_path}/log"\nexit {code}\n')
        (tmp_path / name).chmod(0o755)
    for ci, installs in (("true", os.geteuid() == 0), ("", False)):
        (tmp_path / "log").write_text("")
        done = subprocess.run(
            [tmp_path / "bash", script],
            env={"PATH": str(tmp_path), "CI": ci},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (tmp_path / "log").read_text().splitlines() == [*["apt-get -qq update"] * installs, "make test"]
        assert ("no Chromium could be installed" in done.stdout) == installs


def test_speed_is_measured(report: tuple[Path, Findings]) -> None:
    words = ["-m", "benchmarks.pages", str(report[0]), "--chromium", program(), "--openings", "1"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"^(.+): median (\d+) ms", done.stdout, flags=re.MULTILINE)
    assert [what for what, _ in told] == [
        "first contentful paint",
        "ready",
        *pages.DEEDS,
        "open an example",
        "go to the end of the list",
    ]
    assert int(told[0][1]) > 0
