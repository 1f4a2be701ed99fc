"""The report's section on where memorization is: its figures and sentences are those of the tables of `localize`."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.estimators.localization.summary import localize
from analysis.report import Findings, find
from analysis.report.probed import flipped
from orchestrator import run_campaign
from orchestrator.report import explorer, write_report
from orchestrator.report.campaign_text import number
from orchestrator.report.galleries import Galleries
from orchestrator.report.localization import MeasuredPart, introduction, localization, lost_examples
from tests.conftest import small_campaign
from tests.report.test_report import Page
from tests.user_code import HOSTILE
from workers.store import Store

RUNS = 2
PLUS = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Two measured runs at ratio 0.6, which all probes measure, of a network with example-tied dropout."""
    folder = tmp_path_factory.mktemp("probed") / "s"
    planned = small_campaign(
        model={"name": "mlp", "hidden": [48], "stage_dropout": {"name": "example-tied", "p_gen": 0.5}},
        recipe={"epochs": 6, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 0.3}},
        label_noise={"fraction": 0.1},
        subsets={"ratios": [0.6], "repetitions": RUNS, "seed": 5},
        record={
            "probes": {
                "gradients": True,
                "rewinding": {"every": 3},
                "retraining": {"epochs": 2},
                "neurons": {"examples": 10, "most": 10},
                "dropout": True,
            }
        },
    )
    run_campaign(planned, str(folder))
    return find(Store.open(str(folder)))


@pytest.fixture(scope="module")
def tables(found: Findings) -> dict[str, pd.DataFrame]:
    """What `localize` summarizes."""
    return localize(found.store).tables


@pytest.fixture(scope="module")
def parts(found: Findings) -> dict[str, MeasuredPart]:
    """The parts by the first word of their title."""
    assert found.probed is not None
    return {part.title.split()[0] + part.title.split()[-1]: part for part in localization(found.probed)}


def told(part: MeasuredPart) -> str:
    return " ".join(part.sentences)


def percent(row: pd.Series, name: str = "accuracy") -> str:
    return f"{number(100 * row[name], 1)}{PLUS}{number(100 * row[f'{name}_se'], 1)}%"


def shown(part: MeasuredPart) -> list[list[str]]:
    """The rows of a figure's table."""
    assert part.picture is not None
    return [list(row) for row in part.picture.values]


def cells(frame: pd.DataFrame, *names: str) -> list[list[str]]:
    """A frame's rows as they must be in a figure's table: three digits, and a dash for no number."""
    rows = frame[list(names)].to_dict("records")
    return [[number(value, 3) if isinstance(value, float) else str(value) for value in row.values()] for row in rows]


def test_cosines_are_the_means_over_epochs(tables: dict[str, pd.DataFrame], parts: dict[str, MeasuredPart]) -> None:
    part = parts["GradientsGradients"]
    means = tables["gradients"].groupby("layer", sort=False)["cosine"].mean().sort_values()
    for place in (0, -1):
        pattern = re.escape(f"{number(means.iloc[place])}{PLUS}") + r"\d\.\d\d" + re.escape(f" ({means.index[place]})")
        assert re.search(pattern, told(part))
    assert {row[0]: row[1] for row in shown(part)} == {str(layer): number(mean, 3) for layer, mean in means.items()}


def test_rewound_layers_are_those_of_the_table(tables: dict[str, pd.DataFrame], parts: dict[str, MeasuredPart]) -> None:
    table = tables["rewinding"]
    rule = table[(table["rule"] == "reestimated") & table["group"].isin(["clean", "noisy"])]
    start = rule[rule["epoch"] == 0].set_index(["group", "layer"])
    noisy = pd.DataFrame(start.loc["noisy"]).sort_values("accuracy", kind="stable")
    most, least = noisy.index[0], noisy.index[-1]
    part = parts["Oneweights"]
    for layer, how in ((most, "least with"), (least, "greatest with")):
        beside = f"(noisy {percent(noisy.loc[layer])}, clean {percent(start.loc[('clean', layer)])})"
        assert f"{how} {layer} {beside}" in told(part)
    whole = table[(table["rule"] == "parameters") & (table["epoch"] == 6) & (table["group"] == "noisy")].iloc[0]
    assert f"With all layers as trained, {percent(whole)} of the noisy examples" in told(part)
    assert shown(part) == cells(rule, "layer", "epoch", "group", "accuracy", "accuracy_se")


def test_retrained_layers_are_those_of_the_table(
    tables: dict[str, pd.DataFrame], parts: dict[str, MeasuredPart]
) -> None:
    table = tables["retraining"]
    part = parts["Oneexamples"]
    after = table[(table["epoch"] == 2) & (table["group"] == "noisy")].sort_values("accuracy", kind="stable")
    low, high = after.iloc[0], after.iloc[-1]
    assert f"{percent(low)} ({low['layer']}) and {percent(high)} ({high['layer']}) of the noisy" in told(part)
    compared = table[table["group"].isin(["clean", "noisy"])]
    assert shown(part) == cells(compared, "layer", "epoch", "group", "accuracy", "accuracy_se")


def test_units_are_those_of_the_table(
    found: Findings, tables: dict[str, pd.DataFrame], parts: dict[str, MeasuredPart]
) -> None:
    """The curve of each group passes through the table's share that needs fewer than 10."""
    assert found.probed is not None and found.probed.flips is not None
    part = parts["Unitsprediction"]
    for group, row in tables["neurons"].dropna(subset="under_10").set_index("group").iterrows():
        assert f"{percent(row, 'under_10')} of the {group} ones" in told(part)
        curve = found.probed.flips[found.probed.flips["group"] == group].set_index("units")
        at = min(9, curve.index.max())
        assert curve.loc[at, "share"] == pytest.approx(row["under_10"])
        assert [str(group), str(at), number(row["under_10"], 3)] in [each[:3] for each in shown(part)]
    assert f"AUC of {number(tables['neurons_detection']['auc'].item())}" in told(part)


def test_examples_that_are_not_flipped_stay_below_the_curve() -> None:
    units = pd.DataFrame(
        {
            "run_id": ["a"] * 5,
            "group": ["noisy"] * 3 + ["clean"] * 2,
            "units": [0, 1, 3, 2, 4],
            "censored": [False, False, False, False, True],
        }
    )
    curves = flipped(units).groupby("group")["share"].apply(list)
    assert curves["noisy"] == [0.5, 0.5, 1, 1]
    assert curves["clean"] == [0, 0.5, 0.5, 0.5]
    assert flipped(units[units["units"] == 0]).empty


def test_modes_and_lost_examples(
    found: Findings, tables: dict[str, pd.DataFrame], parts: dict[str, MeasuredPart]
) -> None:
    assert found.probed is not None
    part = parts["Memorizationdropped"]
    for row in tables["dropout"].dropna(subset="accuracy").to_dict("records"):
        if row["group"] != "heldout":
            assert f"{percent(pd.Series(row))} ({row['mode']})" in told(part)
    lost = lost_examples(found.probed)
    correct = (found.labels.label == found.labels.given_label)[lost["example_id"]]
    assert len(lost) > 5 and correct.all() and (lost["lost"] > 0).all()
    tiles = Galleries(found, None).dropped()
    assert [tile.example for tile in tiles] == lost["example_id"].head(24).tolist()
    assert tiles[0].value == f"{round(lost['lost'].iloc[0] * lost['runs'].iloc[0])} of " + (
        "1 run" if lost["runs"].iloc[0] == 1 else f"{lost['runs'].iloc[0]} runs"
    )


def test_of_a_large_set_lost_examples_are_explored(found: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the images of the section open."""
    monkeypatch.setattr(explorer, "MAX_EXAMPLES", 600)
    ids = explorer._explored(found, None)[0]
    assert {tile.example for tile in Galleries(found, None).dropped()} <= set(ids.tolist())


@pytest.mark.slow
def test_the_page_has_the_section(found: Findings, tmp_path: Path) -> None:
    assert found.probed is not None
    page = Page(write_report(found.store, tmp_path / "r.html").path)
    assert "where" in page.ids and "#where" in page.addresses
    assert len(set(page.ids)) == len(page.ids)
    assert " ".join(introduction(found.probed).split()) in page.words
    for part in localization(found.probed):
        assert part.picture is not None and part.picture.svg.startswith("<svg")
        assert " ".join(told(part).split()) in page.words
    assert "Clean examples lost by dropping" in page.words
    assert any("lost by" in (image["alt"] or "") for image in page.images)


@pytest.mark.slow
def test_names_of_layers_are_escaped_and_a_store_without_a_measured_run_says_so(tmp_path: Path) -> None:
    campaign = small_campaign(
        dataset={"name": "user_code:coloured"},
        model={"name": "user_code:hostile_layers"},
        recipe={"epochs": 2, "batch_size": 16},
        label_noise={"fraction": 0.2},
        subsets={"ratios": [0.5], "repetitions": 2, "seed": 1},
        record={"probes": {"repetitions": 1, "gradients": True, "rewinding": {"every": 1}}},
    )
    run_campaign(campaign, tmp_path / "s", shard_size=1)
    store = Store.open(tmp_path / "s")
    report = write_report(store, tmp_path / "r.html")
    written, page = report.path.read_text(), Page(report.path)
    assert HOSTILE not in written and "<img src=x" not in written
    assert "of a single run, without standard errors" in page.words and "± nan" not in page.words
    assert page.words.count("$x_1$ & {{ 7 * 7 }}") >= 4  # below two figures, and in their tables
    assert "probes" not in report.missing

    sorted((tmp_path / "s" / "results").iterdir())[0].unlink()
    report = write_report(Store.open(tmp_path / "s"), tmp_path / "again.html")
    assert report.missing["probes"] in Page(report.path).words
    assert "(1 at each ratio, the first)" in report.missing["probes"]


def test_a_group_without_examples_is_left_out(found: Findings) -> None:
    """Without label noise no example is noisy: accuracies on them are NaN."""
    assert found.probed is not None
    tables = {name: frame.copy() for name, frame in found.probed.tables.items()}
    for name in ("rewinding", "retraining", "dropout"):
        tables[name].loc[tables[name]["group"] == "noisy", ["accuracy", "accuracy_se"]] = np.nan
    probed = type(found.probed)(**{**vars(found.probed), "tables": tables})
    texts = [told(part) for part in localization(probed)]
    assert not any("nan" in text or "– of" in text for text in texts)
    assert texts[1] == texts[2] == "No run trained on noisy examples."
