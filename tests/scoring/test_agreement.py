"""Two sets of scores of the same examples: correlations, overlaps, and who may be compared with whom."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import PathCollection, PolyCollection

from analysis import EstimateError, compare, open_store, plot
from analysis.scoring.agreement import THRESHOLDS, Agreement, agreement
from analysis.scoring.scores import Estimate, Scores
from tests.command import call
from tests.slow_estimators import slow_jackknife
from tests.synthetic import Labelled, make_store, make_stores, random_runs
from workers.campaign.import_spec import Imported
from workers.errors import DataError, StoreError
from workers.store import Store, examples_table

NAN = float("nan")


def scores(values: object, labels: object = None, fingerprint: str | None = None, source: str = "a") -> Scores:
    numbers = np.asarray(values, dtype=np.float64)
    classes = np.zeros(len(numbers), np.int64) if labels is None else np.asarray(labels, dtype=np.int64)
    return Scores(source, "made up", classes, numbers, fingerprint)


def agree(a: object, b: object, estimate: Estimate = "memorization", bars: object = (0.5,)) -> Agreement:
    return agreement(scores(a), scores(b), estimate, tuple(bars))  # type: ignore[arg-type]


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's coefficient by its definition: Pearson's of the ranks, ties having their mean rank."""
    ranks = [[float(np.sum(v < each) + (np.sum(v == each) + 1) / 2) for each in v] for v in (x, y)]
    (p, q), n = ranks, len(x)
    mean = (n + 1) / 2
    products = sum((a - mean) * (b - mean) for a, b in zip(p, q, strict=True))
    squares = [sum((a - mean) ** 2 for a in r) for r in ranks]
    return products / float(np.sqrt(squares[0] * squares[1]))


def test_every_number_of_a_small_case() -> None:
    a, b = [0.0, 0.2, 0.5, 0.9, NAN, 1.0], [0.1, 0.6, 0.5, 0.4, 0.3, np.inf]
    found = agree(a, b, bars=(0.5, 0.2, 2.0))
    assert found.left_out == 2
    assert found.scores["example_id"].tolist() == [0, 1, 2, 3]
    assert found.scores[["a", "b"]].to_numpy().tolist() == [[0.0, 0.1], [0.2, 0.6], [0.5, 0.5], [0.9, 0.4]]
    # Ranks 1 2 3 4 and 1 4 3 2: 1 - 6 (0 + 4 + 0 + 4) / (4 x 15).
    assert found.spearman == pytest.approx(0.2)
    # Both means are 0.4: products 0.12 - 0.04 + 0.01 + 0, squares 0.46 and 0.14.
    assert found.pearson == pytest.approx(0.09 / np.sqrt(0.46 * 0.14))
    assert found.mean_absolute_difference == pytest.approx(0.25)
    rows = found.selections.to_numpy().tolist()
    assert rows[:2] == [[0.5, 2, 2, 1, 1 / 3], [0.2, 3, 3, 3, 1.0]]
    assert rows[2][:4] == [2.0, 0, 0, 0]
    # Over the union: examples 1, 2, 3 differ by 0.4, 0, 0.5.
    assert found.curve["difference"].tolist()[:2] == pytest.approx([0.3, 0.3])
    assert np.isnan(rows[2][4])


def test_a_correlation_of_one_is_not_certain() -> None:
    """It has no limits: an interval of width 0 would say that other examples and runs give the same."""
    a = np.random.default_rng(0).random(40)
    for b in (a, 0.3 - a / 3):
        found = agree(a, b, bars=())
        assert abs(found.pearson) == abs(found.spearman) == 1
        assert found.errors.query("measure != 'mean_absolute_difference'")[["se", "low", "high"]].isna().all(axis=None)


def test_thresholds_that_look_alike_have_their_own_errors(tmp_path: Path) -> None:
    a, b = [0.3, 0.3, 0.1 + 0.2, 0.9] * 5, [0.3, 0.1 + 0.2, 0.3, 0.9] * 5
    found = agree(a, b, bars=(0.3, 0.1 + 0.2))
    errors = found.errors.set_index("measure")["value"]
    assert errors[["jaccard 0.3", "jaccard 0.30000000000000004"]].tolist() == found.selections["jaccard"].tolist()
    for name, values in (("a", a), ("b", b)):
        np.savez(tmp_path / f"{name}.npz", labels=np.arange(20) % 4, scores=np.array(values))
    bars = ["--threshold", "0.3", "--threshold", "0.30000000000000004"]
    _, shown, _ = call("compare", tmp_path / "a.npz", tmp_path / "b.npz", "--estimate", "memorization", *bars)
    assert [line.split()[:6] for line in shown.splitlines() if line.startswith(">=")] == [
        [">=", "0.3", "20", "20", "20", "1.000"],
        [">=", "0.30000000000000004", "10", "10", "5", "0.333"],
    ]


def slow_union(x: np.ndarray, y: np.ndarray, threshold: float) -> tuple[float, float]:
    """Jaccard index and mean difference of the examples that either side selects, with sets."""
    a, b = ({i for i, value in enumerate(side) if value >= threshold} for side in (x, y))
    if not a | b:
        return NAN, NAN
    return len(a & b) / len(a | b), sum(abs(x[i] - y[i]) for i in a | b) / len(a | b)


def test_a_curve_and_its_errors_are_those_of_the_definitions() -> None:
    """Some replicates have no value for an example, and nothing is selected at the highest threshold."""
    random = np.random.default_rng(1)
    base = random.random(40)
    sides = [np.clip(base + random.normal(0, 0.1, 40), 0, 1) for _ in range(2)]
    without = [side + random.normal(0, 0.05, (groups, 40)) for side, groups in zip(sides, (5, 8), strict=True)]
    without[0][2, 7] = NAN
    a, b = (replace(scores(side), replicates=each) for side, each in zip(sides, without, strict=True))
    curve = agreement(a, b, "memorization", (0.3, 0.8, 2.0), confidence=0.9).curve
    place = np.random.default_rng(0).permutation(40) % 20
    for row in curve.iloc[:2].to_dict("records"):
        x, y = sides
        left = [(x[place != j], y[place != j]) for j in range(20)]
        some = [[np.isfinite(each) for each in side] for side in without]
        of_a = [(each[there], y[there]) for each, there in zip(without[0], some[0], strict=True)]
        of_b = [(x[there], each[there]) for each, there in zip(without[1], some[1], strict=True)]
        for number, measure in enumerate(("jaccard", "difference")):
            parts = [
                slow_jackknife([slow_union(*pair, row["threshold"])[number] for pair in pairs])
                for pairs in (left, of_a, of_b)
            ]
            assert row[measure] == pytest.approx(slow_union(x, y, row["threshold"])[number])
            assert row[f"{measure}_se"] == pytest.approx(np.sqrt(sum(part**2 for part in parts)))
            assert row[f"{measure}_low"] < row[measure] < row[f"{measure}_high"]
        assert row["over"] == "examples and runs"
    last = curve.iloc[2]
    assert last[["n_a", "n_b", "n_both"]].tolist() == [0, 0, 0]
    assert last[["jaccard", "jaccard_low", "difference", "difference_low"]].isna().all()


def test_low_cscores_are_the_long_tail() -> None:
    found = agree([0.1, 0.5, 0.9, 0.95], [0.4, 0.6, 0.2, 1.0], "cscore")
    assert found.selections.to_numpy().tolist() == [[0.5, 2, 2, 1, 1 / 3]]


@pytest.mark.slow
@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=30))
def test_correlations_and_overlaps_are_those_of_the_definitions(pairs: list[tuple[int, int]]) -> None:
    x, y = (np.array(side) / 6 for side in zip(*pairs, strict=True))
    found = agree(x, y, bars=THRESHOLDS["memorization"])
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert found.spearman == pytest.approx(rank_correlation(x, y), abs=1e-12)
        assert found.pearson == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
    else:
        assert np.isnan([found.spearman, found.pearson]).all()
    for row in found.selections.itertuples():
        a, b = ({i for i, value in enumerate(v) if value >= row.threshold} for v in (x, y))
        assert (row.n_a, row.n_b, row.n_both) == (len(a), len(b), len(a & b))
        assert row.jaccard == pytest.approx(len(a & b) / len(a | b) if a | b else NAN, nan_ok=True)


def test_without_a_common_value_or_with_a_bad_threshold() -> None:
    with pytest.raises(EstimateError, match="no example has a value in both a and a"):
        agree([NAN, 1.0], [0.0, NAN])
    with pytest.raises(EstimateError, match="threshold must be a finite number, got nan"):
        agree([1.0], [0.0], bars=(NAN,))


# Stores and files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Path, Path]:
    """Two stores of the same 30 examples, two ratios each; example 4 is in every subset at 0.7 of the first."""
    labels = Labelled((np.arange(30) % 4).tolist())
    for seed, name in enumerate("ab"):
        random = np.random.default_rng(seed)
        runs = {ratio: random_runs(random, 40, 30, 3, ratio) for ratio in (0.3, 0.7)}
        if name == "a":
            runs[0.7].subsets[:, 4] = True
        make_stores(tmp_path / name, runs, labels)
    return tmp_path / "a", tmp_path / "b"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Scores of the same examples as a file."""
    np.savez(tmp_path / "published.npz", labels=np.arange(30) % 4, scores=np.linspace(0, 1, 30))
    return tmp_path / "published.npz"


@pytest.mark.slow
def test_two_stores_by_memorization(stores: tuple[Path, Path]) -> None:
    found = compare(*stores, ratio=0.7)
    errors = found.errors.set_index("measure")
    assert errors.loc["spearman", "value"] == found.spearman and errors.loc["spearman", "over"] == "examples and runs"
    known = errors.dropna(subset=["low"])
    assert ((known["low"] <= known["value"]) & (known["value"] <= known["high"])).all() and len(known) >= 3
    a, b = (open_store(store).memorization(ratio=0.7, empty="nan")["mem"].to_numpy() for store in stores)
    held_out = ~np.isnan(a)
    assert found.left_out == (~held_out).sum() == 1
    np.testing.assert_array_equal(found.scores[["a", "b"]].to_numpy(), np.stack([a, b], axis=1)[held_out])
    assert found.spearman == pytest.approx(rank_correlation(a[held_out].round(12), b[held_out].round(12)))
    assert found.name_a == f"{stores[0]} (ratio 0.7, 40 runs)"
    with pytest.raises(EstimateError, match="ratio must be given, one of 0.3, 0.7"):
        compare(*stores)


@pytest.mark.slow
def test_a_store_and_a_score_file(stores: tuple[Path, Path], published: Path) -> None:
    found = compare(stores[0], published, estimate="cscore")
    np.testing.assert_array_equal(found.scores["a"], open_store(stores[0]).cscore()["cscore"])
    np.testing.assert_array_equal(found.scores["b"], np.linspace(0, 1, 30))
    assert found.name_a.endswith("(ratios 0.3, 0.7, 80 runs)")
    at_one = compare(published, stores[0], estimate="cscore", ratio=0.3)
    profile = open_store(stores[0]).consistency().query("ratio == 0.3")["consistency"].to_numpy()
    np.testing.assert_array_equal(at_one.scores["b"], profile)
    assert compare(published, published, estimate="memorization").spearman == 1.0


@pytest.mark.slow
def test_what_was_asked_for_must_make_sense(stores: tuple[Path, Path], published: Path, tmp_path: Path) -> None:
    with pytest.raises(EstimateError, match="estimate must be given with a score file"):
        compare(stores[0], published)
    with pytest.raises(EstimateError, match="ratio must be left out with two score files, got 0.7"):
        compare(published, published, estimate="cscore", ratio=0.7)
    with pytest.raises(
        EstimateError, match="estimate must be one of memorization, cscore, forgetting, got 'influence'"
    ):
        compare(*stores, estimate="influence")  # type: ignore[arg-type]
    with pytest.raises(EstimateError, match="ratio must be one of 0.3, 0.7, got 0.5"):
        compare(stores[0], published, estimate="cscore", ratio=0.5)
    with pytest.raises(StoreError, match="nowhere: is not a Longtail store"):
        compare(stores[0], tmp_path / "nowhere", ratio=0.7)
    with pytest.raises(DataError, match=r"nowhere.npz: No such file"):
        compare(stores[0], tmp_path / "nowhere.npz", estimate="cscore")


@pytest.mark.parametrize(
    ("labels", "values", "message"),
    [
        (np.arange(30) % 4, np.zeros(29), "scores: must be as many as labels, 30, got 29"),
        (np.arange(30) / 4, np.zeros(30), "labels: must be integers, got float64"),
        (np.arange(30) % 4, np.array(["1"] * 30), "scores: must hold numbers or truth values, got <U1"),
        (np.arange(30)[::-1] % 4, np.zeros(30), "30 of 30 labels differ, the first is example 0: 1 and 0"),
        (np.where(np.arange(30) == 7, 9, np.arange(30) % 4), np.zeros(30), "1 of 30 .* first is example 7: 9 and 3"),
    ],
)
def test_files_of_other_examples_are_refused(
    labels: np.ndarray, values: np.ndarray, message: str, stores: tuple[Path, Path], tmp_path: Path
) -> None:
    np.savez(tmp_path / "other.npz", labels=labels, scores=values)
    with pytest.raises((EstimateError, DataError), match=f"^{tmp_path}/other.npz: .*{message}"):
        compare(stores[0], tmp_path / "other.npz", estimate="cscore")


def named(values: object, names: list[str] | None, labels: object, fingerprint: str | None) -> Scores:
    found = scores(values, labels, fingerprint, source=fingerprint or "file")
    return replace(found, names=None if names is None else pa.array(names))


def test_examples_are_matched_by_name_wherever_they_are() -> None:
    """A subset in another order, with other classes; names that are there twice tell nothing."""
    ours = named([0.1, 0.2, 0.3, 0.4, 0.5], ["v", "w", "x", "y", "y"], [0, 1, 2, 3, 4], "a" * 64)
    theirs = named([7.0, 8.0, 9.0, 6.0], ["x", "q", "v", "y"], [0, 0, 0, 0], "b" * 64)
    found = agreement(ours, theirs, "memorization", ())
    assert found.scores.to_dict("list") == {
        "example_id": [0, 2],
        "example_id_b": [2, 0],
        "name": ["v", "x"],
        "label": [0, 2],
        "a": [0.1, 0.3],
        "b": [9.0, 7.0],
    }
    assert found.matched == (
        "on the 2 examples with the same name, of 5 and 4; 2 whose names are there several times are left out"
    )
    same = agreement(ours, named(np.arange(5), None, [0, 1, 2, 3, 4], "a" * 64), "memorization", ())
    assert (len(same.scores), same.matched) == (5, "")


def test_examples_are_matched_by_id_where_all_labels_agree() -> None:
    mixed = np.arange(9) % 3
    ours, grown = named(np.arange(9), None, mixed, "a" * 64), named(np.arange(12), None, np.arange(12) % 3, "b" * 64)
    file = named(np.arange(12), None, np.arange(12) % 3, None)
    for other in (grown, file):
        for found in (agreement(ours, other, "cscore", ()), agreement(other, ours, "cscore", ())):
            assert found.scores["example_id"].tolist() == list(range(9))
            assert found.matched.startswith("on the 9 examples with the same id and label, of ")
    pixels = agreement(ours, named(np.arange(9), ["n"] * 9, mixed, "b" * 64), "cscore", ())
    assert pixels.matched == "on the 9 examples with the same id and label, of 9 and 9; the pixels are others"


@pytest.mark.parametrize(
    ("ours", "theirs", "names", "told"),
    [
        ("000111", "000111", None, "sorted labels do not tell which examples are the same; names of examples would"),
        ("000111", "000111", "uvwxyz", "sorted labels do not tell which examples are the same; they share no name$"),
        ("010101", "010100", None, "1 of 6 labels differ, the first is example 5: 0 and 1"),
    ],
)
def test_what_does_not_tell_which_examples_are_the_same_is_refused(
    ours: str, theirs: str, names: str | None, told: str
) -> None:
    a = named(np.arange(6), list("abcdef") if names else None, list(map(int, ours)), "a" * 64)
    b = named(np.arange(6), list(names) if names else None, list(map(int, theirs)), "b" * 64)
    with pytest.raises(EstimateError, match=told):
        agreement(a, b, "cscore", ())


def test_equal_labels_do_not_make_two_data_sets_one() -> None:
    known, other, labels_only = (
        scores([1.0], fingerprint=each, source=str(each)) for each in ("x" * 64, "y" * 64, None)
    )
    with pytest.raises(
        EstimateError,
        match=r"was created from a different data set than x+ \(fingerprints yyyyyyyyyyyy and xxxxxxxxxxxx\)",
    ):
        known.check_same_examples(other)
    for one, two in combinations((known, scores([1.0], fingerprint="x" * 64), labels_only), 2):
        one.check_same_examples(two)


@pytest.mark.slow
def test_an_imported_store_is_known_by_its_labels(stores: tuple[Path, Path], tmp_path: Path) -> None:
    trained = Store.open(stores[0])
    origin = Imported(layout="heldout", experiment="elsewhere")
    prints = "7" * 64
    changes = {"campaign": origin, "fingerprint": prints, "identity": origin.identity(prints)}
    label = np.arange(30) % 4
    for name, classes in (("same", label), ("other", label[::-1])):
        table = examples_table(classes, classes, np.zeros(3, np.int64))
        store = Store.create(tmp_path / name, trained.header.model_copy(update=changes), table)
        runs = random_runs(np.random.default_rng(0), 40, 30, 3)
        for shard in trained.shards():
            store.commit(shard, runs.results(shard.runs[0].ratio)[shard.start : shard.stop])
    assert len(compare(stores[0], tmp_path / "same", ratio=0.3).scores) == 30
    with pytest.raises(EstimateError, match="/other: is of other examples than"):
        compare(stores[0], tmp_path / "other", ratio=0.3)


def test_label_noise_does_not_hide_the_data_sets_order(published: Path, tmp_path: Path) -> None:
    runs = random_runs(np.random.default_rng(0), 40, 30, 3)
    noisy = Labelled((np.arange(30) % 4).tolist(), [3] * 30)
    make_store(tmp_path / "noisy", runs.subsets, runs.train, runs.test, labels=noisy)
    assert len(compare(tmp_path / "noisy", published, estimate="cscore").scores) == 30


# The picture --------------------------------------------------------------------------------------------------------


def test_a_few_examples_are_drawn_as_dots() -> None:
    axes = plot.agreement(agree([0.0, 0.25, 1.0], [0.5, 0.25, 0.75]))
    (dots,) = (collection for collection in axes.collections if isinstance(collection, PathCollection))
    assert np.asarray(dots.get_offsets()).tolist() == [[0.0, 0.5], [0.25, 0.25], [1.0, 0.75]]
    (line,) = axes.lines
    assert np.array_equal(line.get_xdata(), line.get_ydata())
    assert axes.get_xlim() == axes.get_ylim()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("memorization\na (made up)",) * 2
    assert "3 examples: Spearman 0.500" in axes.get_title()


def test_many_examples_are_counted_in_hexagons() -> None:
    random = np.random.default_rng(0)
    figure = plot.agreement(agree(random.random(10_000), random.random(10_000), "cscore")).figure
    (hexagons,) = (collection for collection in figure.axes[0].collections if isinstance(collection, PolyCollection))
    assert np.asarray(hexagons.get_array()).sum() == 10_000
    assert figure.axes[1].get_ylabel() == "examples"


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 5000])
def test_a_picture_of_equal_values(count: int, tmp_path: Path) -> None:
    figure = plot.agreement(agree([1.0] * count, [0.0] * count)).get_figure(root=True)
    assert figure is not None
    figure.savefig(tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 0


# The command --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_on_the_command_line(suffix: str, start: bytes, stores: tuple[Path, Path], tmp_path: Path) -> None:
    picture = tmp_path / f"p.{suffix}"
    words = ("compare", *stores, "--ratio", "0.7", "--threshold", "0.1", "--threshold", "0.3", "-o", picture)
    code, output, error = call(*words)
    assert (code, error) == (0, "")
    found = compare(*stores, ratio=0.7, thresholds=(0.1, 0.3))
    lines = output.splitlines()
    assert lines[2] == "memorization of 29 examples; 1 without a value left out"
    assert lines[3].startswith(f"Spearman {found.spearman:.4f} (") and f"Pearson {found.pearson:.4f} (" in lines[3]
    row = found.selections.iloc[1]
    assert "95% interval" in lines[4]
    counts = [f"{row[n]:.0f}" for n in ("n_a", "n_b", "n_both")]
    assert lines[6].split()[:6] == [">=", "0.3", *counts, f"{row.jaccard:.3f}"]
    assert picture.read_bytes().startswith(start)


@pytest.mark.slow
def test_curves_on_the_command_line(stores: tuple[Path, Path], tmp_path: Path) -> None:
    table, picture = tmp_path / "c.csv", tmp_path / "c.png"
    code, output, error = call("compare", *stores, "--ratio", "0.7", "-o", table, "--plot", picture)
    assert (code, error) == (0, "")
    curve = compare(*stores, ratio=0.7).curve
    pd.testing.assert_frame_equal(pd.read_csv(table), curve)
    assert curve["threshold"].tolist() == list(THRESHOLDS["memorization"])
    shown = [line.split()[1] for line in output.splitlines() if line.startswith(">=")]
    assert shown == [f"{threshold:g}" for threshold in THRESHOLDS["memorization"]]
    assert f"table: {table}\n" in output and picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_mistakes_on_the_command_line(stores: tuple[Path, Path], published: Path, tmp_path: Path) -> None:
    for words, code, message in (
        ((*stores, "-o", tmp_path / "p.jpg"), 2, "--output: must end with .parquet, .csv, .png, .pdf, .svg, got "),
        ((*stores, "-o", tmp_path / "p.png", "--plot", tmp_path / "p.png"), 2, "--plot: must be another file than --o"),
        (
            (*stores, "--ratio", "0.7", "-o", tmp_path / "no" / "p.png"),
            2,
            "no/p.png: cannot be written: there is no folder",
        ),
        ((*stores, "--estimate", "influence"), 2, "Invalid value for '--estimate'"),
        ((stores[0], published), 2, "estimate must be given with a score file"),
    ):
        got, _, error = call("compare", *words)
        assert (got, message in error, "Traceback" in error) == (code, True, False), error
    assert not (tmp_path / "p.jpg").exists()
