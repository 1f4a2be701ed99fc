"""Frames of a store in a notebook: pandas in everything, shown as tables with the images of the right examples."""

import base64
import io
import pickle
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis import EstimateError, Frame, StoreView, open_store
from orchestrator import run_campaign
from orchestrator.store_ops.import_runs import import_heldout
from tests.conftest import small_campaign
from tests.store.test_import_runs import LABEL, TEST_LABEL, exact_runs, published, save
from tests.synthetic import make_stores, random_runs
from tests.user_code import HOSTILE, NAMES, coloured
from workers.errors import DataError
from workers.store import Store


class Table(HTMLParser):
    """What a frame shows: images by their words, the text of each row, the lines below."""

    def __init__(self, frame: pd.DataFrame) -> None:
        super().__init__()
        self.images: list[tuple[str, np.ndarray]] = []
        self.rows: list[list[str]] = []
        self.below: list[str] = []
        self.tags: list[str] = []
        self._text = ""
        shown = frame._repr_html_()  # type: ignore[operator]
        assert isinstance(shown, str)
        self.feed(re.sub("<style>.*?</style>", "", shown, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        if tag == "img":
            png = base64.b64decode((found["src"] or "").removeprefix("data:image/png;base64,"))
            self.images.append((found["alt"] or "", np.asarray(Image.open(io.BytesIO(png)))))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th", "p"):
            self._text = ""
        if tag == "small":
            self._text += " | "

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.rows[-1].append(self._text)
        if tag == "p":
            self.below.append(self._text)

    def handle_data(self, data: str) -> None:
        self._text += data


def trained(path: Path, data: str = "coloured", **changes: Any) -> StoreView:
    run_campaign(
        small_campaign(
            dataset={"name": f"user_code:{data}"},
            recipe={"epochs": 1, "batch_size": 16},
            subsets={"ratios": [0.5], "repetitions": 8, "seed": 1},
            **changes,
        ),
        path,
    )
    return open_store(path)


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> StoreView:
    """Eight runs on RGB images, some labels wrong."""
    return trained(tmp_path_factory.mktemp("frames") / "s", label_noise={"fraction": 0.2})


def check_images(table: Table, expected: list[tuple[str, int]]) -> None:
    """The table has the images of these examples, each pixel of the data set as a block."""
    data = coloured()
    assert [words for words, _ in table.images] == [f"{split} example {number}" for split, number in expected]
    for (_, image), (split, number) in zip(table.images, expected, strict=True):
        pixels = (data.train_images if split == "training" else data.test_images)[number].transpose(1, 2, 0)
        side = len(image) // len(pixels)
        assert side > 1
        np.testing.assert_array_equal(image, pixels.repeat(side, axis=0).repeat(side, axis=1))


# What is shown ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_images_are_those_of_the_examples(view: StoreView) -> None:
    most = view.memorization().nlargest(5, "mem")
    check_images(Table(most), [("training", number) for number in most["example_id"]])
    pairs = view.influence(tests=[3], top=2)
    check_images(Table(pairs), [each for i in pairs["example_id"] for each in (("test", 3), ("training", i))])
    last = view.examples().tail(2)
    check_images(Table(last), [("test", 10), ("test", 11)])


def test_an_estimate_stands_with_its_error_interval_and_runs(view: StoreView) -> None:
    made_up = {
        "mem": 0.5,
        "se": 0.306,
        "low": -0.08,
        "high": 0.83,
        "n_in": 4,
        "p_in": 0.75,
        "n_out": 1200,
        "p_out": 0.25,
    }
    head, cells = Table(view.memorization().head(1).assign(**made_up)).rows
    assert head[3:] == ["mem ± se | low to high", "p_in of n_in", "p_out of n_out"]
    assert cells[3:] == ["0.50 ± 0.31 | −0.08 to 0.83", "75% of 4", "25% of 1,200"]


def test_classes_stand_by_name_and_given_labels_where_they_differ(view: StoreView) -> None:
    frame = view.memorization()
    wrong = (frame["label"] != frame["given_label"]).tolist()
    assert 0 < sum(wrong) < 60
    noisy = frame[wrong].head(3)
    head, *rows = Table(noisy).rows
    names = [(NAMES[row["label"]], NAMES[row["given_label"]]) for row in noisy.to_dict("records")]
    assert head[2] == "label | given_label"
    assert [cells[2] for cells in rows] == [f"{label} | given {given}" for label, given in names]
    head, *rows = Table(frame[[not each for each in wrong]].head(3)).rows
    assert head[2] == "label | = given_label"
    assert {cells[2] for cells in rows} <= set(NAMES)
    assert Table(frame.head(1)[["example_id"]].assign(predicted_label=1)).rows[1][1] == NAMES[1]


def test_errors_and_limits_belong_to_the_value_that_they_follow(view: StoreView) -> None:
    mem, cscore = view.memorization(), view.cscore()
    both = cscore.merge(mem[["example_id", "mem"]], on="example_id")
    assert [text for text in Table(both).rows[0] if "±" in text] == ["cscore ± se | low to high"]
    assert Table(mem[["se", "mem"]]).rows[0] == ["se", "mem"]
    assert Table(mem[["mem", "low"]]).rows[0] == ["mem", "low"]
    detection = mem.head(1).assign(auc=0.9, auc_se=0.05, low=0.8, high=1.0)[["auc", "auc_se", "low", "high"]]
    assert Table(detection).rows == [["auc ± se | low to high"], ["0.900 ± 0.050 | 0.800 to 1.000"]]
    suspects = [text for text in Table(view.suspects()).rows[0] if "±" in text]
    assert suspects == ["mem ± se", "cscore ± se"]


def test_text_from_outside_is_escaped(view: StoreView) -> None:
    columns: dict[str, Any] = {HOSTILE: HOSTILE, "note": [NAMES[2], "x" * 200, None]}
    frame = view.memorization().head(3).assign(**columns)
    frame.index = pd.Index([HOSTILE, "b", "c"], name=HOSTILE)
    table = Table(frame)
    assert "script" not in table.tags and table.tags.count("img") == 3
    assert HOSTILE in table.rows[0] and HOSTILE in table.rows[1]
    assert max(map(len, table.rows[2])) == 80


def test_a_store_shows_data_model_runs_and_precision(view: StoreView) -> None:
    shown = view._repr_html_()
    assert HOSTILE not in shown
    for text in (
        "60 training and 12 test examples of 3 classes",
        view.campaign.model.name,
        "1 epoch of minibatches of 16",
    ):
        assert text in shown
    errors = view.memorization()["se"].median()
    row = ["0.5", "8", "8", "0", *(f"{view.summary()[name][0]:.4f}" for name in ("test_accuracy", "subset_accuracy"))]
    assert f"<tr>{''.join(f'<td>{text}</td>' for text in [*row, f'{errors:.4f}'])}</tr>" in shown
    assert f"longtail report {view.store.uri} -o report.html" in shown


def test_a_store_without_runs_says_what_trains_them(view: StoreView, tmp_path: Path) -> None:
    name = "<b>a & b</b>"
    header = view.store.header.model_copy(update={"dataset": name})
    shown = StoreView(Store.create(tmp_path / "s", header, view.store.examples()))._repr_html_()
    assert "&lt;b&gt;a &amp; b&lt;/b&gt;" in shown and name not in shown
    assert "No runs are committed" in shown


def test_an_example_has_an_address_in_the_report(view: StoreView) -> None:
    assert view.report_link("report.html", 59) == "report.html#train-59"
    assert view.report_link(Path("a/r.html"), 11, "test") == "a/r.html#test-11"
    with pytest.raises(EstimateError, match="example_id must be a whole number of 0 to 11"):
        view.report_link("report.html", 12, "test")


def test_a_long_frame_shows_its_start_and_tells_its_length(view: StoreView) -> None:
    table = Table(view.memorization())
    assert (len(table.rows), table.below) == (1 + 20, ["60 rows, the first 20 shown"])
    assert Table(view.memorization().head(1)).below == ["1 row"]
    empty = Table(view.memorization().head(0))
    assert (empty.images, empty.below) == ([], ["0 rows"])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, 0.25], ["0.50", "0.25"]),
        ([0.7, 0.7], ["0.7", "0.7"]),
        ([0.99952, 1.0, float("nan")], ["0.9995", "1.0000", "–"]),
        ([535.7531, -3.0], ["535.8", "−3.0"]),
        ([2.66e-16, 0.0002], ["2.66e−16", "0.0002"]),
        ([0.0, -0.0], ["0", "0"]),
        ([float("inf"), 1.5], ["inf", "1.5"]),
        ([12345, -6], ["12,345", "−6"]),
        (pd.array([7, None], "Int64"), ["7", "–"]),
        ([True, False], ["True", "False"]),
        ([2 + 1j], ["(2+1j)"]),
    ],
)
def test_numbers_are_rounded(view: StoreView, values: Any, expected: list[str]) -> None:
    frame = view.memorization().head(len(values))[["ratio"]].assign(value=values)
    assert [cells[1] for cells in Table(frame).rows[1:]] == expected


def test_light_and_dark_pages_keep_their_colours(view: StoreView) -> None:
    shown = view.memorization()._repr_html_()  # type: ignore[operator]
    (style,) = re.findall("<style>(.*?)</style>", shown, flags=re.DOTALL)
    # No colour of text or ground; rules are half-transparent greys, which stand out on white and on black.
    assert "color" not in style
    assert len(re.findall("1px solid", style)) == len(re.findall(r"rgba\(128, 128, 128, \.\d+\)", style)) > 0


# What is left of pandas ---------------------------------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "query": lambda frame: frame.query("mem >= -2"),
    "nlargest": lambda frame: frame.nlargest(60, "mem"),
    "head": lambda frame: frame.head(30),
    "sort_values": lambda frame: frame.sort_values("mem"),
    "columns": lambda frame: frame[["example_id", "mem"]],
    "mask": lambda frame: frame[frame["mem"] > -2],
    "loc": lambda frame: frame.loc[5:],
    "assign": lambda frame: frame.assign(twice=2 * frame["mem"]),
    "drop": lambda frame: frame.drop(columns="se"),
    "rename": lambda frame: frame.rename(columns={"mem": "m"}),
    "reset_index": lambda frame: frame.reset_index(drop=True),
    "copy": lambda frame: frame.copy(),
    "astype": lambda frame: frame.astype({"mem": "float32"}),
    "merge": lambda frame: frame.merge(frame[["example_id", "mem"]], on="example_id"),
    "merged into": lambda frame: frame.merge(pd.DataFrame({"example_id": range(60)}), how="right"),
    "join": lambda frame: frame.join(pd.DataFrame({"more": range(60)})),
    "concat": lambda frame: pd.concat([frame, frame], ignore_index=True),
    "groups": lambda frame: frame.groupby("label").head(3),
    "pickle": lambda frame: pickle.loads(pickle.dumps(frame)),  # noqa: S301 - our own
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_images_survive(name: str, view: StoreView) -> None:
    frame = view.memorization()
    found = OPERATIONS[name](frame)
    assert isinstance(found, Frame)
    numbers = found["example_id"].head(20)
    check_images(Table(found), [("training", number) for number in numbers])
    pd.testing.assert_frame_equal(found, OPERATIONS[name](pd.DataFrame(frame)))


def test_everything_else_is_pandas(view: StoreView, tmp_path: Path) -> None:
    frame = view.memorization()
    plain = pd.DataFrame(frame)
    assert type(plain) is pd.DataFrame
    assert (repr(frame), frame.to_html()) == (repr(plain), plain.to_html())
    frame.to_parquet(tmp_path / "a.parquet")
    plain.to_parquet(tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert type(frame["mem"]) is pd.Series
    assert len(pickle.dumps(frame)) < len(pickle.dumps(plain)) + 2000  # the data set is not in it
    for odd in (frame.T, frame.set_axis(["x"] * frame.shape[1], axis=1), pd.concat([frame.head(2)] * 4, axis=1)):
        assert odd._repr_html_() == pd.DataFrame(odd)._repr_html_()  # type: ignore[operator]
    with pd.option_context("display.notebook_repr_html", False):
        assert frame._repr_html_() is None  # type: ignore[operator]


def test_what_is_no_example_has_no_image(view: StoreView) -> None:
    frame = view.memorization()
    assert Table(frame.describe()).images == []
    assert Table(frame.describe()).rows[1][0] == "count"
    assert Table(frame.groupby("label")[["mem"]].mean()).rows[0] == ["label", "mem"]
    elsewhere = frame.head(2).assign(example_id=[60, -1])
    assert (Table(elsewhere).images, [row[1] for row in Table(elsewhere).rows[1:]]) == ([], ["60", "-1"])


# One image, and none ------------------------------------------------------------------------------------------------


def test_one_image(view: StoreView) -> None:
    data = coloured()
    for split, images in (("train", data.train_images), ("test", data.test_images)):
        pixels = images[7].transpose(1, 2, 0)
        np.testing.assert_array_equal(np.asarray(view.image(split, 7)), pixels)  # type: ignore[arg-type]
    enlarged = np.asarray(view.image("test", np.int64(7), enlarged=3))  # type: ignore[arg-type]
    np.testing.assert_array_equal(enlarged, pixels.repeat(3, axis=0).repeat(3, axis=1))
    for options, message in (
        (("train", 60), r"example_id must be a whole number of 0 to 59 \(train\), got 60"),
        (("test", -1), r"example_id must be a whole number of 0 to 11 \(test\), got -1"),
        (("train", 1.5), "example_id must be a whole number of 0 to 59 .* got 1.5"),
        (("both", 1), "split must be one of train, test, got 'both'"),
    ):
        with pytest.raises(EstimateError, match=message):
            view.image(*options)
    with pytest.raises(EstimateError, match="enlarged must be at least 1, got 0"):
        view.image("train", 0, enlarged=0)


def test_only_a_trusted_store_has_its_function_called(
    view: StoreView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGTAIL_CACHE", str(tmp_path))
    calls = sys.modules["user_code"].CALLS
    again, called = open_store(view.store.uri), len(calls)
    table = Table(again.memorization())
    assert (table.images, len(calls)) == ([], called)
    assert table.below[1] == (
        "No images: the data set cannot be loaded: user_code:coloured: is named by the store, and not called; "
        "--trust-code (in Python trust_code=True) calls it, for a store that you made."
    )
    with pytest.raises(DataError, match="user_code:coloured: is named by the store, and not called"):
        again.image("train", 0)
    assert len(calls) == called
    trusting = open_store(view.store.uri, trust_code=True)
    frame = trusting.memorization()
    assert trusting.image("train", 0).size == (4, 5)
    assert len(calls) == called + 1
    assert len(Table(frame).images) == len(Table(open_store(view.store.uri).memorization()).images) == 20


def test_showing_a_frame_downloads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from analysis.view.display.images import DatasetImages
    from workers.campaign.dataset_spec import TorchvisionData

    monkeypatch.setenv("LONGTAIL_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    images = DatasetImages(TorchvisionData(name="mnist", root=str(root), download=True), "0" * 64)
    assert images.missing.startswith("the data set cannot be loaded: dataset.root: mnist is not complete in")
    assert "\n" not in images.missing and not root.exists()


def test_another_data_set_than_the_runs_had(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    view = open_store(make_stores(tmp_path / "s", {0.5: random_runs(random, 6, 8, 3, 0.5)}).uri)
    table = Table(view.memorization())
    assert (len(table.rows), table.images) == (9, [])
    assert table.below[1].startswith("No images: the data set cannot be loaded: data set: expected fingerprint 5555")
    with pytest.raises(DataError, match="expected fingerprint 5555"):
        view.image("train", 0)
    assert len(Table(view.runs()).below) == 1  # it shows no examples, so none are missed


def test_imported_runs_and_features_have_no_images(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    runs = exact_runs(random, 6, 0.7)
    for k in range(6):
        save(tmp_path / "cifar10-tiny" / "0.7" / str(k), published(runs, k, random))
    np.savez(tmp_path / "labels.npz", train=LABEL, test=TEST_LABEL.astype(np.uint8))
    import_heldout(tmp_path / "cifar10-tiny", tmp_path / "imported", tmp_path / "labels.npz")
    for view, reason in (
        (open_store(tmp_path / "imported"), "the runs were imported, and nothing says where their data set is"),
        (trained(tmp_path / "s", "features"), "the examples are no grey or RGB images, their shape is [6]"),
    ):
        table = Table(view.memorization())
        assert (table.images, table.below[-1]) == ([], f"No images: {reason}.")
        with pytest.raises(EstimateError, match=re.escape(f"no images: {reason}")):
            view.image("train", 0)


@pytest.mark.slow
def test_influence_of_some_test_examples(view: StoreView) -> None:
    every = view.influence(top=3)
    some = view.influence(top=3, tests=[7, 2])
    pd.testing.assert_frame_equal(some, every.query("test_example_id in (2, 7)").reset_index(drop=True))
    above = view.influence(threshold=0.5)
    few = view.influence(threshold=0.5, tests=slice(0, 4))
    pd.testing.assert_frame_equal(few, above.query("test_example_id < 4").reset_index(drop=True))
    with pytest.raises(IndexError):
        view.influence(tests=[12])
