"""Small data sets of each kind, for the tests beside this file."""

import gzip
import io
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from workers.campaign.dataset_spec import ImageFolder, ParquetImages, TorchvisionData
from workers.datasets import Dataset, image_folder, parquet_images
from workers.errors import DataError

REPOSITORY = Path(__file__).parents[2]


def real_data(name: str) -> Path:
    shared = os.environ.get("LONGTAIL_TEST_DATA") or REPOSITORY.parent / "shared" / "data"
    path = Path(shared) / name
    if not path.exists():
        pytest.skip(f"real data not here: {path} (set LONGTAIL_TEST_DATA)")
    return path


def make_dataset(**changes: Any) -> Dataset:
    fields = {
        "train_images": np.arange(4 * 3 * 2 * 2, dtype=np.uint8).reshape(4, 3, 2, 2),
        "train_labels": np.array([0, 1, 2, 1]),
        "test_images": np.full((2, 3, 2, 2), 7, dtype=np.uint8),
        "test_labels": np.array([2, 0]),
        "class_names": ("a", "b", "c"),
    }
    return Dataset(**{**fields, **changes})


def error_of(action: Callable[[], Any]) -> str:
    with pytest.raises(DataError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    return text


def write_idx(path: Path, array: np.ndarray[Any, Any], *, pack: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    if pack:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


def write_mnist(folder: Path, *, names: tuple[str, str] = ("train", "t10k"), pack: bool = False) -> dict[str, Any]:
    random = np.random.default_rng(0)
    written = {}
    for name, count in zip(names, (20, 10), strict=True):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8) + ("letters" in name)
        write_idx(folder / f"{name}-images-idx3-ubyte", images, pack=pack)
        write_idx(folder / f"{name}-labels-idx1-ubyte", labels, pack=pack)
        written[name] = (images, labels)
    return written


def torchvision_spec(name: Any, root: Path, *, download: bool = False) -> TorchvisionData:
    return TorchvisionData(name=name, root=str(root), download=download)


def write_image(path: Path, colour: Any = 0, mode: str = "RGB", size: tuple[int, int] = (4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def save_array(path: Path, array: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def reader_notes(spec: ImageFolder | ParquetImages) -> tuple[str, ...]:
    """What the reader alone notes; `load_dataset` adds what is odd about the examples, such as images of one colour."""
    reader = image_folder if isinstance(spec, ImageFolder) else parquet_images
    with tempfile.TemporaryDirectory() as scratch:
        notes: tuple[str, ...] = reader.decode(spec, Path(scratch)).notes
    return notes


def folder_spec(root: Path, **options: Any) -> ImageFolder:
    return ImageFolder(name="image-folder", root=str(root), **options)


def png(value: int, size: tuple[int, int] = (2, 2)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, value).save(buffer, "png")
    return buffer.getvalue()


def write_parquet(path: Path, images: list[Any], labels: Any, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": images, "label": labels})
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=2)
    return path


def parquet_spec(train: Path, test: Path | None = None, **options: Any) -> ParquetImages:
    return ParquetImages(name="parquet", train=str(train), test=None if test is None else str(test), **options)


def as_struct(values: list[int]) -> list[dict[str, Any]]:
    return [{"bytes": png(value), "path": None} for value in values]
