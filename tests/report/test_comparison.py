"""Two stores side by side: `longtail report A B`."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from analysis.report import find
from orchestrator.cli.commands import report as command
from orchestrator.report.compared_scores import compared_scores
from orchestrator.report.comparison import match_stores, write_comparison
from tests.browser import PHONE, opened
from tests.command import call
from tests.report.explorer_page import violations
from tests.synthetic import Labelled, make_stores, random_runs
from workers.errors import EstimateError
from workers.store import Store

LABELS = Labelled(*(np.random.default_rng(1).integers(0, 2, count).tolist() for count in (30, 30, 4)))


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    """Runs of two campaigns on the same labels."""
    folder = tmp_path_factory.mktemp("stores")
    made = (
        make_stores(folder / name, {0.5: random_runs(np.random.default_rng(seed), 20, 30, 4)}, LABELS)
        for seed, name in enumerate("ab")
    )
    a, b = made
    return a, b


def test_differences_are_of_the_same_examples(stores: tuple[Store, Store]) -> None:
    a, b = (find(store) for store in stores)
    scores, counts = compared_scores(a, b, match_stores(*stores))
    assert a.mem is not None and b.mem is not None
    x, y = a.mem["mem"].to_numpy(), b.mem["mem"].to_numpy()
    assert next(iter(scores)) == "mem_apart"  # the list begins with disagreements
    np.testing.assert_array_equal(scores["mem_apart"].values, np.abs(x - y))
    np.testing.assert_array_equal(scores["mem_b"].values, y)
    np.testing.assert_array_equal(counts["n_out_b"][1], b.mem["n_out"])
    difference = scores["mem_difference"]
    np.testing.assert_array_equal(difference.values, x - y)
    assert difference.limits is not None
    for limit, (near, far) in zip(difference.limits, (("low", "high"), ("high", "low")), strict=True):
        # Squares add: Zou and Donner's limits of a difference.
        expected = (x - a.mem[near].to_numpy()) ** 2 + (b.mem[far].to_numpy() - y) ** 2
        np.testing.assert_allclose((difference.values - limit) ** 2, expected, atol=1e-12)


def test_limits_of_a_difference_include_0_of_equal_scores(stores: tuple[Store, Store]) -> None:
    findings = find(stores[0])
    scores, _ = compared_scores(findings, findings, match_stores(*stores))
    assert (scores["cscore_apart" if "cscore_apart" in scores else "mem_apart"].values == 0).all()
    low, high = scores["mem_difference"].limits or (np.ones(1), np.ones(1))
    assert (low < 0).all() and (high > 0).all()


def test_command_writes_both(stores: tuple[Store, Store], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.report(stores[0].uri, tmp_path / "r.html", other=stores[1].uri)
    assert capsys.readouterr().out.startswith(f"report: {tmp_path / 'r.html'}")
    text = (tmp_path / "r.html").read_text()
    assert all(store.uri in text for store in stores) and "mem_difference" in text and "A beside B" in text


@pytest.mark.browser
def test_page_begins_with_disagreements(browser: Browser, stores: tuple[Store, Store], tmp_path: Path) -> None:
    path = write_comparison(stores, tmp_path / "r.html").path
    a, b = (find(store) for store in stores)
    assert a.mem is not None and b.mem is not None
    apart = (a.mem["mem"] - b.mem["mem"]).abs()
    with opened(browser, path, **PHONE) as watched:
        page = watched.page
        page.locator("#explorer").scroll_into_view_if_needed()
        # Without images the list is a table.
        expect(page.locator("#rows tbody tr").first.get_by_role("link")).to_have_text(f"no. {apart.idxmax()}")
        assert violations(page) == [] and watched.wider() == []
        page.get_by_role("link", name="More in A").tap()
        expect(page.locator("[name=sort]")).to_have_value("mem_difference_low")
        page.locator("#rows tbody a").first.tap()
        expect(page.get_by_role("dialog").get_by_role("row", name="memorization, A − B")).to_be_visible()
        assert watched.problems == []


def test_other_examples_are_refused_in_a_line(
    stores: tuple[Store, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.report.comparison.known_fingerprint", lambda store: None)  # labels alone tell
    others = Labelled(*(np.random.default_rng(9).integers(0, 2, count).tolist() for count in (30, 30, 4)))
    other = make_stores(tmp_path / "other", {0.5: random_runs(np.random.default_rng(3), 4, 30, 4)}, others)
    code, out, err = call("report", stores[0].uri, other.uri, "-o", tmp_path / "r.html")
    assert code == 2 and out == "" and len(err.splitlines()) == 1 and "labels differ" in err
    with pytest.raises(EstimateError, match="must be two stores"):
        match_stores(stores[0], stores[0])
    assert not (tmp_path / "r.html").exists()
