"""Pictures: drawn on the axes given or on new ones, of the values of the frames, and none of them left behind."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch

from analysis import EstimateError, StoreView, compare, noise_curves, noise_detection, open_store, plot
from analysis.plot.drawing import ORDERED_PALETTE, PALETTE, ordered_colours
from analysis.report import figures, find
from analysis.statistics.bins import CSCORE_BINS, MEM_BINS
from benchmarks.isolation import ROOT
from orchestrator import run_campaign
from orchestrator.cli.figure_output import write_figure
from tests.command import call
from tests.conftest import small_campaign
from tests.synthetic import Labelled, make_stores, random_runs
from workers.datasets import load_dataset
from workers.errors import CampaignError


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> StoreView:
    """Runs at two ratios that record how they learn, some labels wrong; one example is in no subset at 0.3."""
    path = tmp_path_factory.mktemp("plot") / "s"
    campaign = small_campaign(
        dataset={"name": "user_code:grey"},
        recipe={"epochs": 2, "batch_size": 8},
        subsets={"ratios": [0.3, 0.7], "repetitions": 8, "seed": 1},
        label_noise={"fraction": 0.2},
        record={"epochs": "all", "presentations": True},
    )
    run_campaign(campaign, path)
    return open_store(path)


ONE_PANEL: dict[str, Callable[..., Axes]] = {
    "agreement": lambda view, **axes: plot.agreement(
        compare(view.store.uri, view.store.uri, estimate="cscore"), **axes
    ),
    "cscore": lambda view, **axes: plot.cscore(view.cscore(), **axes),
    "forgetting": lambda view, **axes: plot.forgetting(view.forgetting(), **axes),
    "mem_against_cscore": lambda view, **axes: plot.mem_against_cscore(
        view.memorization(ratio=0.7), view.cscore(), **axes
    ),
    "memorization": lambda view, **axes: plot.memorization(view.memorization(), **axes),
    "profiles": lambda view, **axes: plot.profiles(view.profiles(by="class"), **axes),
    "proxies": lambda view, **axes: plot.proxies(view.proxy_agreement(), **axes),
    "reliability": lambda view, **axes: plot.reliability(view.reliability(splits=2), **axes),
}
PANELS: dict[str, tuple[int, Callable[..., Any]]] = {
    "agreement_curve": (
        2,
        lambda view, **axes: plot.agreement_curve(
            compare(view.store.uri, view.store.uri, ratio=0.7, thresholds=(-1, 0.1)).curve, **axes
        ),
    ),
    "examples": (3, lambda view, **axes: plot.examples(view, view.memorization(), count=3, **axes)),
    "influence": (4, lambda view, **axes: plot.influence(view, 2, ratio=0.7, top=3, **axes)),
    "learning": (1, lambda view, **axes: plot.learning(view.learning_curves(), **axes)),
    "noise": (2, lambda view, **axes: plot.noise(view.noise(), view.noise_curves(), **axes)),
}


def test_every_picture_is_tried() -> None:
    # tests/subsets/test_explicit.py, tests/localization, tests/learning
    elsewhere = {"audit", "removal", "marginal_utility", "localization", "partitions", "paired_forgetting"}
    assert {*ONE_PANEL, *PANELS, *elsewhere} == set(plot.__all__)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_PANEL)
def test_a_picture_is_drawn_on_the_axes_given_or_on_new_ones(name: str, view: StoreView) -> None:
    draw = ONE_PANEL[name]
    figure, (left, right) = pyplot.subplots(1, 2)
    assert draw(view, axes=right) is right
    assert right.has_data() and not left.has_data()
    assert pyplot.get_fignums() == [figure.number] and figure.legends == []
    own = draw(view)
    assert own.has_data() and own.get_xlabel()
    assert pyplot.gcf() is own.figure is not figure
    own.figure.canvas.draw()  # constrained layout finds room for all of it


@pytest.mark.slow
@pytest.mark.parametrize("name", PANELS)
def test_several_panels_are_an_array_of_axes(name: str, view: StoreView) -> None:
    count, draw = PANELS[name]
    figure, given = pyplot.subplots(2, 4)
    found = draw(view, axes=given[1, :count])
    assert found.tolist() == given[1, :count].tolist()
    assert all(panel.has_data() for panel in found)
    assert not any(panel.has_data() for panel in given[0])
    assert pyplot.get_fignums() == [figure.number]
    own = draw(view)
    assert own.shape == (count,) and pyplot.gcf() is own[0].figure
    own[0].figure.canvas.draw()
    with pytest.raises(EstimateError, match=rf"axes: there must be {count}, one for each panel, got 5"):
        draw(view, axes=given.ravel()[:5])
    if count == 1:
        assert draw(view, axes=given[0, 0]).tolist() == [given[0, 0]]


# Values -------------------------------------------------------------------------------------------------------------


def outlines(axes: Axes) -> list[tuple[list[int], list[float]]]:
    """The counts and edges of histograms."""
    data = [patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch)]
    return [([int(count) for count in counts], [round(edge, 9) for edge in edges]) for counts, edges, _ in data]


@pytest.mark.slow
def test_histograms_count_as_the_report_does(view: StoreView) -> None:
    found = find(view.store, 0.3)
    assert found.mem is not None and found.cscore is not None
    assert found.mem["mem"].isna().any(), "some example must be in no subset"
    for values, bins, low, axes in (
        (found.mem["mem"], MEM_BINS, -1, plot.memorization(view.memorization(ratio=0.3))),
        (found.cscore["cscore"], CSCORE_BINS, 0, plot.cscore(view.cscore())),
    ):
        expected = figures.histogram("h", values.to_numpy(), bins, low, "", "").values
        ((counts, edges),) = outlines(axes)
        assert [f"{count:,}" for count in counts] == [count for _, count in expected]
        assert len(edges) == bins + 1 and (edges[0], edges[-1]) == (low, 1)
        assert axes.get_yscale() == "log"


def test_what_is_drawn_is_said(view: StoreView) -> None:
    mem, cscore = view.memorization(), view.cscore()
    one = plot.memorization(mem[mem["ratio"] == 0.7])
    valued = mem.query("ratio == 0.7 and n_in > 0 and n_out > 0")
    median, most = valued["se"].quantile([0.5, 0.9])
    errors = f"standard error: median {median:.2g}, 90th percentile {most:.2g}"
    assert one.get_title() == f"ratio 0.7: {len(valued)} examples, 8 runs,\n{errors}"
    legend = plot.memorization(mem).get_legend()
    assert legend is not None
    assert [text.get_text()[:10] for text in legend.get_texts()] == ["ratio 0.3:", "ratio 0.7:"]
    held_out = cscore.dropna(subset="cscore")["n_out"]
    assert f"2 ratios, held out by {held_out.min()} to {held_out.max()} runs" in plot.cscore(cscore).get_title()
    both = plot.mem_against_cscore(mem[mem["ratio"] == 0.7], cscore).get_title()
    assert f"{len(valued)} examples, 8 runs at the ratio: Spearman" in both


@pytest.mark.slow
def test_reliability_has_a_line_for_each_estimate(view: StoreView) -> None:
    frame = view.reliability(splits=3)
    axes = plot.reliability(frame)
    rows = frame.query("estimate == 'memorization' and ratio == 0.7")
    line = next(container for container in axes.containers if container.get_label() == "memorization at 0.7")
    assert np.asarray(line[0].get_ydata()).tolist() == rows["spearman_brown"].tolist()
    assert "C-score" in [container.get_label() for container in axes.containers]
    assert axes.get_title() == "halves of the runs, 3 random splits"


def test_examples_are_shown_with_class_and_value(view: StoreView) -> None:
    data, most = load_dataset(view.campaign.dataset), view.memorization(ratio=0.7).nlargest(7, "mem")
    panels = plot.examples(view, most)
    assert len(panels) == 10 and [panel.has_data() for panel in panels] == [True] * 7 + [False] * 3
    for panel, row in zip(panels, most.to_dict("records"), strict=False):
        (image,) = panel.images
        pixels = data.train_images[row["example_id"]].transpose(1, 2, 0)[:, :, 0]
        np.testing.assert_array_equal(image.get_array(), pixels)
        name = (r" _\$x^2\$", "cat")[row["given_label"]]
        lines = panel.get_title().split("\n")
        assert lines[:2] == [f"train {row['example_id']}: {name}", f"mem {row['mem']:.2f}"]
        assert lines[2] == f"({row['low']:.2f} to {row['high']:.2f})".replace("-", "−")
    tests = plot.examples(view, view.examples("test"), value="label", count=1)
    assert tests[0].get_title() == "test 0:  _\\$x^2\\$\nlabel 0"
    suspect = most.head(1).assign(predicted_label=1, predicted_share=0.93)
    assert plot.examples(view, suspect)[0].get_title().split("\n")[1] == "predicted cat in 93%"


def test_influence_is_shown_with_its_interval(view: StoreView) -> None:
    panels = plot.influence(view, 5, ratio=0.7, top=2)
    pairs = view.influence(ratio=0.7, tests=[5], top=2).to_dict("records")
    right = view.correctness("test", ratio=0.7)[5].mean()
    assert panels[0].get_title() == f"test 5: cat\nright in {right:.0%} of 8 runs"
    for panel, row in zip(panels[1:], pairs, strict=True):
        value = f"{row['infl']:.2f} ({row['low']:.2f} to {row['high']:.2f})".replace("-", "−")
        assert panel.get_title().startswith(f"train {row['example_id']}: ") and panel.get_title().endswith(f"\n{value}")


def test_influence_of_nobody_is_not_shown(view: StoreView) -> None:
    pairs = view.influence(ratio=0.7, tests=[5], top=12)
    assert 0 < (pairs["infl"] > 0).sum() < len(pairs)
    panels = plot.influence(view, 5, ratio=0.7, top=12)
    assert [bool(panel.get_title()) for panel in panels[1:]] == [*(pairs["infl"] > 0), *[False] * (12 - len(pairs))]
    assert not panels[-1].images


def test_lines_that_tell_are_as_light_or_dark_as_the_text(view: StoreView) -> None:
    with pyplot.style.context("dark_background"):
        axes = plot.agreement(compare(view.store.uri, view.store.uri, estimate="cscore"))
        assert axes.lines[-1].get_color() == "white"


def test_many_curves_differ_in_colour_or_dash() -> None:
    names = [f"s{number}" for number in range(20)]
    table = pd.DataFrame(
        {"score": names, "ratio": 0.5, "auc": 0.9, "average_precision": 0.5, "examples": 10, "noisy": 2}
    )
    points = pd.DataFrame({"false_positive_rate": [0.1, 1.0], "recall": [0.5, 1.0], "precision": [0.5, 0.2]})
    curves = pd.concat([points.assign(score=name, ratio=0.5) for name in names])
    roc, _ = plot.noise(table, curves)
    assert len({(line.get_color(), line.get_linestyle()) for line in roc.lines[:20]}) == 20


# What cannot be drawn -----------------------------------------------------------------------------------------------


def test_frames_that_do_not_fit_are_refused(view: StoreView) -> None:
    mem, cscore = view.memorization(), view.cscore()
    lacks_mem = "frame: must have the columns ratio, mem, se, n_in, n_out, got none called ratio, mem, n_in"
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: plot.memorization(cscore), lacks_mem),
        (lambda: plot.memorization(mem.head(0)), "frame: has no example with a value of mem"),
        (lambda: plot.cscore(mem), "got none called cscore, n_ratios"),
        (lambda: plot.mem_against_cscore(mem, cscore), "must be of one ratio, .* got 0.3, 0.7"),
        (lambda: plot.mem_against_cscore(mem.head(40), cscore.head(0)), "some example in common, got none"),
        (lambda: plot.reliability(mem), "got none called estimate, runs"),
        (lambda: plot.reliability(view.reliability(splits=1).assign(spearman_brown=np.nan, jaccard=np.nan)), "too few"),
        (lambda: plot.influence(view, 8), "test_example_id must be 0 to 7, got 8"),
        (lambda: plot.examples(view, view.runs()), "must have a column example_id or test_example_id, got run_id"),
        (lambda: plot.examples(view, mem, "cscore"), "value must be a column of the frame .*, got 'cscore'"),
        (lambda: plot.examples(view, mem.head(0)), "frame: must have at least one row"),
        (lambda: plot.examples(view, mem, count=0), "count must be a whole number of at least 1, got 0"),
    ]
    for draw, message in cases:
        with pytest.raises(EstimateError, match=message):
            draw()
    assert pyplot.get_fignums() == []


# Outside of notebooks -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_analysis_is_imported_without_matplotlib() -> None:
    code = (
        "import sys, analysis; analysis.plot.memorization; print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


@pytest.fixture
def frame(tmp_path: Path) -> Iterator[pd.DataFrame]:
    random = np.random.default_rng(3)
    yield open_store(make_stores(tmp_path / "s", {0.5: random_runs(random, 6, 20, 3, 0.5)}).uri).memorization()
    assert pyplot.get_fignums() == []


@pytest.mark.slow
def test_writing_leaves_no_figure_behind(frame: pd.DataFrame, tmp_path: Path) -> None:
    for number in range(2):
        write_figure(tmp_path / f"{number}.svg", plot.memorization, frame)
    assert len(list(tmp_path.glob("*.svg"))) == 2 and pyplot.get_fignums() == []
    with pytest.raises(EstimateError, match="must have the columns"):
        write_figure(tmp_path / "x.png", plot.memorization, frame[["mem"]])
    with pytest.raises(CampaignError, match=r"nowhere/x.png: cannot be written: No such file or directory"):
        write_figure(tmp_path / "nowhere" / "x.png", plot.memorization, frame)


@pytest.mark.slow
def test_several_panels_are_written_as_one_figure(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    labels = Labelled([0, 1] * 10, [1, 1] + [0, 1] * 9)
    store = make_stores(tmp_path / "s", {0.5: random_runs(random, 6, 20, 3, 0.5)}, labels)
    from analysis import read_example_scores

    found = read_example_scores(store)
    write_figure(tmp_path / "n.pdf", plot.noise, noise_detection(found), noise_curves(found))
    assert (tmp_path / "n.pdf").read_bytes().startswith(b"%PDF")
    assert pyplot.get_fignums() == []


@pytest.mark.slow
def test_a_command_leaves_no_figure_behind(view: StoreView, tmp_path: Path) -> None:
    words = ("compare", view.store.uri, view.store.uri, "--estimate", "cscore", "-o", tmp_path / "p.png")
    assert call(*words)[0] == 0
    assert (tmp_path / "p.png").exists() and pyplot.get_fignums() == []


@pytest.mark.slow
def test_writing_needs_no_display(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from matplotlib import pyplot; from orchestrator.cli.figure_output import write_figure\n"
        "write_figure(pathlib.Path(sys.argv[1]), lambda: pyplot.subplots()[1])"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    picture = tmp_path / "p.png"
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code, picture],
        cwd=ROOT,
        env={**environment, "MPLBACKEND": "tkagg"},
        check=True,
        timeout=120,
    )
    assert picture.read_bytes().startswith(b"\x89PNG")


# Colours --------------------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of #rrggbb."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_are_the_reports_and_stand_out_on_white() -> None:
    for colour in (*PALETTE, *ORDERED_PALETTE):
        assert 1.05 / (luminance(colour) + 0.05) >= 3, colour
    page = (ROOT / "orchestrator/report/page/report.css").read_text().split("@media")[0]
    assert tuple(re.findall(r"--s\d: (#\w+);", page)) == ORDERED_PALETTE
    assert re.findall(r"--accent: (#\w+);", page) == [PALETTE[0]]
    for count in (2, 5, 10):
        assert len(set(ordered_colours(count))) == count


def test_groups_are_drawn_in_the_ordered_colours(view: StoreView) -> None:
    axes = plot.profiles(view.profiles(by="cscore"))
    drawn = [container[0].get_color() for container in axes.containers]
    assert drawn == ordered_colours(len(drawn)) and len(drawn) > 1
    pyplot.close("all")
