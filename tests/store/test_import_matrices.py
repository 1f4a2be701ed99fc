"""Runs in matrices become a store like any other; published memorization is compared with it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import open_store
from orchestrator.store_ops.import_runs import MatrixImport, import_matrices
from orchestrator.store_ops.verify import verify_store
from tests.command import call
from tests.synthetic import Labelled, Runs, make_stores
from workers.errors import DataError, StoreMismatchError

R, N, T = 40, 12, 5
RANDOM = np.random.default_rng(4)
MASKS = RANDOM.random((R, N)) < 0.5
TRAIN, TEST = RANDOM.random((R, N)) < 0.6, RANDOM.random((R, T)) < 0.6
MARGINS = {
    "train": RANDOM.normal(size=(R, N)).astype(np.float16),
    "test": RANDOM.normal(size=(R, T)).astype(np.float16),
}
LABEL, TEST_LABEL = np.arange(N) % 3, np.arange(T) % 3
ARRAYS = {"masks": MASKS, "train_correct": TRAIN, "test_correct": TEST}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    np.savez(tmp_path / "labels.npz", train=LABEL, test=TEST_LABEL)
    return tmp_path / "labels.npz"


def saved(folder: Path, arrays: dict[str, Any], form: str) -> list[Path]:
    """The arrays in one file, or in one of each."""
    if form == "npz":
        np.savez_compressed(folder / "runs.npz", **arrays)
        return [folder / "runs.npz"]
    if form == "parquet":
        table = pa.table({name: pa.array(list(values)) for name, values in arrays.items()})
        pq.write_table(table, folder / "runs.parquet", row_group_size=7)
        return [folder / "runs.parquet"]
    names = {"masks": "train_masks"}
    paths = [folder / f"{names.get(name, name)}_50pct.npy" for name in arrays]
    for path, values in zip(paths, arrays.values(), strict=True):
        np.save(path, values)
    return paths


@pytest.mark.parametrize("form", ["npz", "parquet", "npy"])
def test_correctness_gives_the_estimates_of_the_same_runs(form: str, labels: Path, tmp_path: Path) -> None:
    report = import_matrices(saved(tmp_path, ARRAYS, form), tmp_path / "s", labels)
    assert (report.runs, report.before) == (R, 0)
    expected = make_stores(
        tmp_path / "e", {0.5: Runs(MASKS, TRAIN, TEST)}, Labelled(LABEL.tolist(), LABEL.tolist(), TEST_LABEL.tolist())
    )
    view, ours = open_store(tmp_path / "s"), open_store(expected.uri)
    pd.testing.assert_frame_equal(view.memorization().drop(columns="ratio"), ours.memorization().drop(columns="ratio"))
    pd.testing.assert_frame_equal(
        view.influence(top=3).drop(columns="ratio"), ours.influence(top=3).drop(columns="ratio")
    )
    assert view.ratios[0] == pytest.approx(MASKS.mean(), abs=0.05)
    assert verify_store(str(tmp_path / "s"))[1] == []


@pytest.mark.parametrize("form", ["npz", "npy"])
def test_margins_give_correctness_and_datamodels(form: str, labels: Path, tmp_path: Path) -> None:
    """As MadryLab/datamodels-data has them: train_masks, train_margins and test_margins."""
    arrays = {"masks": MASKS, **{f"{split}_margins": values for split, values in MARGINS.items()}}
    import_matrices(saved(tmp_path, arrays, form), tmp_path / "s", labels)
    view = open_store(tmp_path / "s")
    assert (view.correctness("train").to_numpy() == (MARGINS["train"] > 0)).all()
    assert view.datamodels().source.output == "margin"
    means = view.memorization(output="margin")
    assert means["mean_in"][0] == pytest.approx(MARGINS["train"][MASKS[:, 0], 0].astype(float).mean())


def test_margins_of_test_examples_alone_and_no_test_examples(labels: Path, tmp_path: Path) -> None:
    arrays = {"masks": MASKS, "train_correct": TRAIN, "test_margins": MARGINS["test"]}
    import_matrices(saved(tmp_path, arrays, "npz"), tmp_path / "s", labels)
    assert open_store(tmp_path / "s").datamodels().source.output == "margin"
    np.savez(tmp_path / "none.npz", train=LABEL, test=LABEL[:0])
    import_matrices(
        saved(tmp_path, {"masks": MASKS, "train_margins": MARGINS["train"]}, "npz"),
        tmp_path / "t",
        tmp_path / "none.npz",
    )
    assert len(open_store(tmp_path / "t").memorization()) == N


def test_equal_masks_are_runs_of_one_subset(labels: Path, tmp_path: Path) -> None:
    arrays = {**ARRAYS, "masks": np.repeat(MASKS[: R // 4], 4, axis=0)}
    import_matrices(saved(tmp_path, arrays, "npz"), tmp_path / "s", labels)
    view = open_store(tmp_path / "s")
    assert view.store.header.replicates == 4
    assert view.variance()["subsets"].tolist() == [R // 4] * T


def test_an_import_is_continued_and_another_one_is_refused(labels: Path, tmp_path: Path) -> None:
    files = saved(tmp_path, ARRAYS, "npz")
    code, shown, errors = call("import", "matrices", *files, "--store", tmp_path / "s", "--labels", labels, "--runs", 7)
    assert (code, "7 runs of runs in" in shown) == (0, True), errors
    code, shown, errors = call("import", "matrices", *files, "--store", tmp_path / "s", "--labels", labels)
    assert (code, "40 runs of runs in" in shown, "(33 imported now)" in shown) == (0, True, True), errors
    assert (open_store(tmp_path / "s").subsets().to_numpy() == MASKS).all()
    with pytest.raises(StoreMismatchError, match="imported.experiment"):
        import_matrices(files, tmp_path / "s", labels, MatrixImport(name="another"))


def without(name: str) -> dict[str, Any]:
    return {each: values for each, values in ARRAYS.items() if each != name}


EMPTY = MASKS.copy()
EMPTY[3] = False
APART = MASKS.copy()
APART[9] = APART[2]
UNEVEN = MASKS.copy()
UNEVEN[3] = UNEVEN[2]
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "no masks": (without("masks"), "must have one of masks or train_masks, got 0"),
    "two kinds": (
        {**ARRAYS, "train_margins": MARGINS["train"]},
        "must have one of train_correct or train_margins, got 2",
    ),
    "no tests": (without("test_correct"), "must have one of test_correct or test_margins, got 0"),
    "fewer rows": ({**ARRAYS, "train_correct": TRAIN[1:]}, "must have 40 rows, as many as .*: masks, got 39"),
    "other N": ({**ARRAYS, "masks": MASKS[:, 1:]}, "must have 12 columns, got 11"),
    "other T": ({**ARRAYS, "test_correct": TEST[:, 1:]}, "must have 5 columns, got 4"),
    "other values": ({**ARRAYS, "train_correct": TRAIN * 2}, "row 0: must be true and false, or 1 and 0, got 2"),
    "no row": ({name: values[:0] for name, values in ARRAYS.items()}, "must have a row, got none"),
    "an empty mask": ({**ARRAYS, "masks": EMPTY}, "row 3: must have an example, and is empty"),
    "equal masks apart": ({**ARRAYS, "masks": APART}, "row 9: must follow the other rows of its mask"),
    "unevenly many": ({**ARRAYS, "masks": UNEVEN}, "must have equally many rows of each mask, got 1, 2"),
    "a margin of NaN": (
        {**without("train_correct"), "train_margins": np.where(TRAIN, 1.0, np.nan)},
        "train_margins: row 0: must be numbers, got NaN for example",
    ),
    "texts": ({**ARRAYS, "masks": np.array([["x"]])}, "must hold numbers or truth values"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_matrices_that_do_not_fit_are_refused_in_one_line_and_nothing_is_written(
    what: str, labels: Path, tmp_path: Path
) -> None:
    arrays, message = HOSTILE[what]
    files = saved(tmp_path, arrays, "npz")
    with pytest.raises(DataError, match=rf"^[^\n]*{message}[^\n]*$"):
        import_matrices(files, tmp_path / "s", labels)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("what", ["negative", "header", "pipe"])
def test_files_that_claim_what_no_array_has_are_refused(what: str, labels: Path, tmp_path: Path) -> None:
    files = saved(tmp_path, ARRAYS, "npy")
    content = {
        "negative": (files[0].read_bytes().replace(b"(40, 12)", b"(-4, 12)"), r"claims the shape \[-4, 12\]"),
        "header": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "claims a header of 4,294,967,295 bytes"),
    }
    if what == "pipe":
        files[0].unlink()
        os.mkfifo(files[0])
        labels.unlink()
        os.mkfifo(labels)
        with pytest.raises(DataError, match=r"labels.npz: is not a regular file$"):
            import_matrices(files, tmp_path / "s", labels)
        np.savez(labels.with_name("others.npz"), train=LABEL, test=TEST_LABEL)
        message, labels = r"_50pct.npy: is not a regular file$", labels.with_name("others.npz")
    else:
        start, message = content[what]
        files[0].write_bytes(start)
    with pytest.raises(DataError, match=message):
        import_matrices(files, tmp_path / "s", labels)
    assert not (tmp_path / "s").exists()


def published(write: Callable[..., None], path: Path, **changes: Any) -> Path:
    """The layout of cifar100_infl_matrix.npz: memorization, labels, and a matrix of influences of each class."""
    arrays = {
        "tr_labels": LABEL,
        "tr_mem": np.linspace(0, 1, N),
        "tt_labels": TEST_LABEL,
        "tr_classidx_0": np.flatnonzero(LABEL == 0),
        "tt_classidx_0": np.flatnonzero(TEST_LABEL == 0),
        "infl_matrix_class0": np.zeros(((LABEL == 0).sum(), (TEST_LABEL == 0).sum())),
    }
    write(path, **{**arrays, **changes})
    return path


def test_published_memorization_is_compared_as_it_is(labels: Path, tmp_path: Path) -> None:
    import_matrices(saved(tmp_path, ARRAYS, "npz"), tmp_path / "s", labels)
    file = published(np.savez, tmp_path / "cifar100_infl_matrix.npz")
    code, shown, errors = call("compare", tmp_path / "s", file, "--estimate", "memorization")
    assert code == 0, errors
    assert f"{N}" in shown
    code, _, errors = call("compare", tmp_path / "s", file, "--estimate", "cscore")
    assert (code, "holds memorization (tr_mem), not cscore" in errors) == (2, True)
    other = published(np.savez, tmp_path / "other.npz", tr_labels=LABEL[::-1])
    code, _, errors = call("compare", tmp_path / "s", other, "--estimate", "memorization")
    assert (code, "labels" in errors) == (2, True)
