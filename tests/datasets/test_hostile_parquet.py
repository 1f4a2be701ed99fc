"""Parquet data sets that claim more than they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.datasets.support import as_struct, error_of, parquet_spec, png, write_parquet
from workers.datasets import load_dataset, parquet_files


@pytest.mark.slow
def test_columns_that_claim_too_much_are_refused(tmp_path: Path) -> None:
    few, zeros = [png(1)] * 4, pa.array(np.zeros((1 << 24) + 1, np.int8))
    images = pa.DictionaryArray.from_arrays(zeros, [b"x"])
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(4, np.int8)), ["x" * 5000])
    tables: dict[str, tuple[dict[str, Any], str]] = {
        "rows": (
            {"image": images, "label": zeros},
            "claims 16,777,217 rows, at most 16,777,216 are read",
        ),
        "text": ({"image": few, "label": texts}, "column 'label' must hold texts of at most 1,000 bytes"),
        "list": ({"image": few, "label": [[0] * 1000] * 4}, "must be integers or text, got list<"),
        "images": ({"image": [[png(1)]] * 4, "label": [0] * 4}, "must be binary or a struct with binary field"),
        "names": ({"image": few, "label": [0, 1] * 2, "id": [["a"]] * 4}, "must be text or whole numbers, got list<"),
    }
    for name, (columns, problem) in tables.items():
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet", compression="zstd")
        spec = parquet_spec(tmp_path / f"{name}.parquet", name_column="id" if name == "names" else None)
        assert problem in error_of(lambda spec=spec: load_dataset(spec)), name  # type: ignore[misc]


def test_pages_and_footers_that_claim_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_parquet(tmp_path / "a.parquet", as_struct([1, 2, 3]), [0, 1, 0])
    content = file.read_bytes()
    for damaged, problem in {
        content[:-8] + (1 << 30).to_bytes(4, "little") + b"PAR1": "is not a whole Parquet file",
        content[:-1]: "is not a whole Parquet file",
        b"": "is empty, 0 bytes",
    }.items():
        file.write_bytes(damaged)
        assert f"a.parquet: cannot be read as Parquet ({problem})" in error_of(lambda: load_dataset(parquet_spec(file)))
    file.write_bytes(content)
    monkeypatch.setattr(parquet_files, "MAX_PAGE", 50)
    told = error_of(lambda: load_dataset(parquet_spec(file)))
    assert "column 'image.bytes', row group 0: claims a page of" in told and "row groups of 100 rows" in told
    monkeypatch.setattr(parquet_files, "MAX_FOOTER", 50)
    assert "at most 50 are read" in error_of(lambda: load_dataset(parquet_spec(file)))


def test_blocks_have_fewer_rows_where_values_may_be_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of blocks, the same data are read; 1,000 rows of a dictionary's value of 4 KB take 4 MB."""
    value, numbers = bytes(4096), pa.array(np.zeros(1000, np.int8))
    table = pa.table({"v": pa.DictionaryArray.from_arrays(numbers, pa.array([value]))})
    pq.write_table(table, tmp_path / "v.parquet", store_schema=False, compression="zstd")
    monkeypatch.setattr(parquet_files, "_BLOCK_BYTES", 1 << 16)
    blocks = list(parquet_files.open_parquet(tmp_path / "v.parquet").blocks("v"))
    assert sum(map(len, blocks)) == 1000 and max(block.nbytes for block in blocks) < 1 << 17
    assert all(each == value for block in blocks for each in block.to_pylist())
