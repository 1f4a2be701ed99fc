"""Which Parquet files `train` and `test` name."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.datasets.support import as_struct, error_of, parquet_spec, reader_notes, write_parquet
from workers.datasets import load_dataset


def write_files(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        write_parquet(root / name, as_struct([2 * number, 2 * number + 1]), [0, 1])


HUB = ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet")


def test_patterns_select_the_splits_of_one_folder(tmp_path: Path) -> None:
    write_files(tmp_path / "[1]", *HUB)
    spec = parquet_spec(tmp_path / "[1]/data/train-*.parquet", tmp_path / "[1]/data/test-*")
    dataset = load_dataset(spec)
    assert dataset.train_images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert dataset.test_images[:, 0, 0, 0].tolist() == [4, 5]
    assert reader_notes(spec) == ()


SEVERAL = (
    "dataset.train: ROOT/data holds several splits: test (test-00000-of-00001.parquet), "
    "train (train-00000-of-00002.parquet); name the files of one, as in ROOT/data/train-*.parquet"
)


@pytest.mark.parametrize(
    ("files", "train", "test", "text"),
    [
        (HUB, "data", None, SEVERAL),
        (HUB, "data/train-*", "data", "dataset.test: ROOT/data holds several splits"),
        (HUB, "data/*.parquet", None, "holds several splits"),
        (("train/0.parquet", "valid/0.parquet"), "**/*.parquet", None, "train (train/0.parquet), validation (valid/"),
        (("a/train.parquet", "a/my_test_1.parquet"), "a", None, "holds several splits"),
        (("a/train-0-of-1.parquet", "a/extra-0-of-1.parquet"), "a", None, "holds several splits: extra ("),
        (HUB[1:], "data/train-*", None, "1 of 2 files like ROOT/data/train-00001-of-00002.parquet are there, number 0"),
        (HUB, "data/test-*", "data/train-*0-of-*", "dataset.test: 1 of 2 files like"),
        (("a/x-1-of-4.parquet", "a/x-3-of-4.parquet"), "a", None, "1-of-4.parquet are there, numbers 0, 2 are missing"),
        (("a/t-0-of-1-ab.parquet", "a/t-0-of-1-cd.parquet"), "a", None, "ROOT/a/t-0-of-1-cd.parquet are of two"),
        (("a/t-0-of-1.parquet", "a/t-0-of-2.parquet", "a/t-1-of-2.parquet"), "a", None, "of two exports of one set"),
        (("a/x.parquet",), "a", "a/x.parquet", "dataset.train and dataset.test: both name ROOT/a/x.parquet"),
        (("a/x.parquet",), "a/y*", None, "or a pattern that matches some, got ROOT/a/y*"),
        (("a/b/x.parquet",), "a", None, "got ROOT/a (but ROOT/a/b has some)"),
    ],
)  # fmt: skip
def test_selections_that_cannot_be_meant(
    tmp_path: Path, files: tuple[str, ...], train: str, test: str | None, text: str
) -> None:
    write_files(tmp_path, *files)
    spec = parquet_spec(tmp_path / train, None if test is None else tmp_path / test)
    assert text.replace("ROOT", str(tmp_path)) in error_of(lambda: load_dataset(spec))


@pytest.mark.parametrize("copy", [Path.hardlink_to, Path.symlink_to, lambda new, old: shutil.copy(old, new)])
@pytest.mark.parametrize("new", ["train/b.parquet", "other/c.parquet"])
def test_a_file_that_is_there_twice_is_refused(tmp_path: Path, copy: Any, new: str) -> None:
    write_files(tmp_path, "train/a.parquet", "other/d.parquet")
    copy(tmp_path / new, tmp_path / "train/a.parquet")
    text = error_of(lambda: load_dataset(parquet_spec(tmp_path / "train", tmp_path / "other")))
    assert f"{tmp_path}/train/a.parquet and {tmp_path}/{new} are " in text
    assert text.endswith(": its rows would be there twice")


def test_what_is_selected_by_halves_is_noted(tmp_path: Path) -> None:
    write_files(tmp_path, *HUB, "more/0000.parquet", "more/0002.parquet", "more/b/x.parquet", "more/y.PQT", "more/z.pq")
    assert reader_notes(parquet_spec(tmp_path / HUB[2], tmp_path / HUB[0])) == (
        f"train: is read from files of the split test, for example {tmp_path / HUB[2]}",
        f"test: {tmp_path / HUB[0]} is 1 of 2 files; the others are not read",
        f"test: is read from files of the split train, for example {tmp_path / HUB[0]}",
    )
    assert reader_notes(parquet_spec(tmp_path / "more")) == (
        f"train: among files like {tmp_path}/more/0000.parquet, number 1 is missing",
        f"train: not read, since only *.parquet right in {tmp_path}/more is: 2 more, "
        f"for example {tmp_path}/more/b/x.parquet",
    )


def test_empty_shards_are_no_copies(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_parquet(tmp_path / f"train/{name}.parquet", pa.array([], pa.null()), pa.array([], pa.null()))
    write_files(tmp_path, "train/c.parquet")
    assert load_dataset(parquet_spec(tmp_path / "train")).num_train == 2
    write_files(tmp_path, "train/train.parquet")
    write_parquet(tmp_path / "train/d.parquet", as_struct([8, 9]), [0, 1])
    (tmp_path / "train/c.parquet").unlink()
    (note,) = reader_notes(parquet_spec(tmp_path / "train"))
    assert note == "train: a.parquet is read with the files of the split train, by name of no split"
