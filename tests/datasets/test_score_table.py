"""Tables of scores: read in canonical order from Parquet or CSV, mistakes told in a line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.stores import powerless
from workers.campaign.score_column import ScoreColumn
from workers.datasets.score_table import read_scores
from workers.errors import CampaignError, StoreError
from workers.subsets.explicit import scores_sha256


def read(path: Path | str, num_train: int = 4, **fields: Any) -> list[float]:
    return read_scores(ScoreColumn(file=str(path), **{"column": "s", **fields}), num_train).tolist()


def test_scores_are_read_in_canonical_order(write_table: Callable[..., str]) -> None:
    assert read(write_table(example_id=[2, 0, 3, 1], s=[20, 0, 30, 10])) == [0, 10, 20, 30]
    assert read(write_table(s=[3.5, np.inf, -0.0, -1])) == [3.5, np.inf, 0, -1]
    ids = [0, 1, 2, 3] * 2
    two = write_table(ratio=[0.3] * 4 + [0.7] * 4, example_id=ids, s=np.arange(8.0))
    assert read(two, ratio=0.7) == [4, 5, 6, 7]
    Path("f.csv").write_text("s,example_id\n1,1\n0.5,0\n3,3\n2,2\n")
    assert read("f.csv") == read(Path("f.csv").absolute()) == [0.5, 1, 2, 3]
    assert read(Path("f.csv").absolute().as_uri()) == [0.5, 1, 2, 3]
    Path("no-ending").write_bytes(Path(write_table(s=[1, 2, 3, 4])).read_bytes())
    assert read("no-ending", sha256=scores_sha256(np.array([1.0, 2, 3, 4]))) == [1, 2, 3, 4]
    assert read(write_table(s=[-0.0] * 4), sha256=scores_sha256(np.zeros(4))) == [0] * 4
    with pytest.raises(CampaignError, match=r"^subsets.scores.sha256: no-ending: column s has other scores, SHA-256 "):
        read("no-ending", sha256="0" * 64)


@pytest.mark.parametrize(
    ("columns", "fields", "line"),
    [
        ({"t": [1.0] * 4}, {}, "column: f.parquet: has no column 's', only t"),
        ({"s": ["a"] * 4}, {}, "column: f.parquet: column s must hold numbers, got "),
        ({"s": [True] * 4}, {}, "column: f.parquet: column s must hold numbers, got bool"),
        ({"s": [1.0] * 3}, {}, "file: f.parquet: without a column example_id must have a row for each of 4 .*, got 3"),
        (
            {"s": [1.0, 2, np.nan, 4], "example_id": [3, 2, 1, 0]},
            {},
            "column: f.parquet: column s must have a number for each example, got none for 1, example 1 first",
        ),
        ({"s": [1.0] * 4, "example_id": [0, 1, 1, 3]}, {}, "file: .* each of 0 to 3 once, got 1 2 times"),
        ({"s": [1.0] * 3, "example_id": [0, 1, 3]}, {}, "file: .* each of 0 to 3 once, got 2 0 times"),
        ({"s": [1.0] * 4, "example_id": [0, 1, 2, 4]}, {}, "file: .* each of 0 to 3 once, got 4"),
        ({"s": [1.0] * 4, "example_id": [0, 1, 2, -1]}, {}, "file: .* each of 0 to 3 once, got -1"),
        ({"s": [1.0] * 4, "example_id": [0.5] * 4}, {}, "file: .*: column example_id must hold whole numbers, got dou"),
        (
            {"s": [1.0] * 8, "example_id": [0, 1, 2, 3] * 2, "ratio": [0.3] * 4 + [0.7] * 4},
            {},
            "ratio: f.parquet: has rows at several ratios: must be one of 0.3, 0.7, got none",
        ),
        ({"s": [2**60] * 4}, {}, "column: f.parquet: column s must hold integers that float64 has exactly"),
        ({"s": [1.0] * 4, "ratio": [0.3] * 4}, {"ratio": 0.5}, "ratio: f.parquet: must be one of 0.3, got 0.5"),
        ({"s": [1.0] * 4, "ratio": ["x"] * 4}, {}, "ratio: f.parquet: column ratio must hold numbers, got "),
        ({"s": [1.0] * 4}, {"ratio": 0.5}, "ratio: f.parquet: has no column ratio to look for 0.5 in"),
    ],
)
def test_tables_that_cannot_be_meant(
    write_table: Callable[..., str], columns: dict[str, object], fields: dict[str, Any], line: str
) -> None:
    with pytest.raises(CampaignError, match=f"^subsets.scores.{line}") as caught:
        read(write_table(**columns), **fields)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.slow
def test_no_more_is_read_than_examples_take(tmp_path: Path) -> None:
    texts = pa.array(np.zeros(4, np.int32))
    table = {"s": np.arange(4.0), "long": pa.DictionaryArray.from_arrays(texts, ["x" * 5000]).cast(pa.string())}
    pq.write_table(pa.table({**table, "lists": [[1, 2]] * 4}), tmp_path / "other.parquet")
    assert read(tmp_path / "other.parquet") == [0, 1, 2, 3]  # what else a table has is not decoded
    (tmp_path / "wide.csv").write_text("a," * 10_000 + "s\n")
    with (tmp_path / "sparse.csv").open("wb") as file:
        file.truncate(1 << 40)
    zeros = pa.DictionaryArray.from_arrays(pa.array(np.zeros((1 << 24) + 1, np.int8)), [0.0])
    pq.write_table(pa.table({"s": zeros}), tmp_path / "rows.parquet")
    for name, line in {
        "wide.csv": "must have at most 10,000 columns",
        "sparse.csv": "has 1,099,511,627,776 bytes, at most 536,870,912 are read",
        "rows.parquet": "claims 16,777,217 rows, at most 16,777,216 are read",
    }.items():
        with pytest.raises(CampaignError, match=f"{name}: {line}"):
            read(tmp_path / name)
    for column, line in {
        "long": "must hold texts of at most 1,000 bytes",
        "lists": "must hold numbers or texts",
    }.items():
        with pytest.raises(CampaignError, match=f"column '{column}' {line}"):
            read_scores(ScoreColumn(file=str(tmp_path / "other.parquet"), column=column), 4)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    table = tmp_path / "scores.parquet"
    pd.DataFrame({"example_id": np.arange(4), "s": np.arange(4.0)}).to_parquet(table)
    content = table.read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "twice").write_text("s,s\n1,2\n")
    for name, line in {
        "missing": "there is no such file",
        "cut": "cannot be read as Parquet .is not a whole Parquet file",
        "empty": "is neither Parquet, nor CSV, nor npz that can be read",
        "twice": "has the column s twice",
    }.items():
        with pytest.raises(CampaignError, match=f"^subsets.scores.file: .*/{name}: {line}"):
            read(tmp_path / name)
    with pytest.raises(StoreError, match=f"^{tmp_path}: "):
        read(tmp_path)
    table.chmod(0)
    with powerless(), pytest.raises(StoreError, match=r"scores.parquet: Permission denied"):
        read(table)
    with pytest.raises(StoreError, match=r"must not name a user or a password"):
        read("s3://me:hunter2@bucket/f.parquet")
