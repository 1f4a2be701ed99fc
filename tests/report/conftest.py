"""A browser and a report, made once for all tests of the page."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from analysis.report import Findings, find
from orchestrator import run_campaign
from orchestrator.report import write_report
from tests.browser import DESKTOP, Watched, launched, opened
from tests.conftest import small_campaign
from tests.report.explorer_page import picks
from workers.store import Store


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all tests."""
    with launched() as found:
        yield found


@pytest.fixture(scope="session")
def report(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Findings]:
    """Of a digits campaign that records everything, and what it shows."""
    folder = tmp_path_factory.mktemp("browser")
    campaign = small_campaign(
        recipe={"epochs": 4, "batch_size": 64},
        subsets={"ratios": [0.5, 0.8], "repetitions": 6, "seed": 5},
        label_noise={"fraction": 0.05},
        record={"epochs": "all", "presentations": True, "probabilities": True, "outputs": ["prediction"]},
    )
    run_campaign(campaign, folder / "s")
    store = Store.open(folder / "s")
    return write_report(store, folder / "report.html").path, find(store)


@pytest.fixture
def desktop(browser: Browser, report: tuple[Path, Findings]) -> Iterator[Watched]:
    """The report, wide and light, its explorer shown; afterwards nothing has gone wrong."""
    with opened(browser, report[0], **DESKTOP) as watched:
        watched.page.get_by_role("link", name="Explorer").click()
        expect(picks(watched.page).first).to_be_visible()
        yield watched
        assert watched.problems == []
