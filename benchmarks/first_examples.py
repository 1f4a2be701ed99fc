"""The first examples of a data set as Parquet files, for campaigns at a size that a few cores train."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from workers.datasets import Dataset

SPLITS = ("train", "test")


def write_first_examples(dataset: Dataset, counts: tuple[int, int], folder: Path) -> dict[str, str]:
    """Write `train.parquet` and `test.parquet` with so many training and test images, in canonical order, as PNG.

    Returns the `dataset` part of a campaign that reads them; its paths are relative to `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in zip(SPLITS, counts, strict=True):
        images = np.asarray(getattr(dataset, f"{split}_images")[:count])
        labels = np.asarray(getattr(dataset, f"{split}_labels")[:count])
        encoded = [{"bytes": _png(image), "path": None} for image in images]
        pd.DataFrame({"image": encoded, "label": labels}).to_parquet(folder / f"{split}.parquet", index=False)
    return {"name": "parquet", **{split: f"{split}.parquet" for split in SPLITS}}


def _png(image: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    content = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)).save(content, "png")
    return content.getvalue()
