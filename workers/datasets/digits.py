"""scikit-learn's handwritten digits."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from workers.campaign.dataset_spec import Digits
from workers.datasets.dataset import Dataset

TEST_STEP = 5
"""Every fifth image is a test image, from the first on: there is no official split."""


def source_files(spec: Digits) -> Iterable[Path]:
    """scikit-learn itself, which brings the images."""
    sklearn = find_spec("sklearn")
    return [Path(sklearn.origin)] if sklearn and sklearn.origin else []


def decode(spec: Digits, scratch: Path) -> Dataset:
    """1,437 training and 360 test images, uint8[., 1, 8, 8] in 0..16, in scikit-learn's order."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    is_test = np.arange(len(labels)) % TEST_STEP == 0
    return Dataset(
        train_images=images[~is_test],
        train_labels=labels[~is_test],
        test_images=images[is_test],
        test_labels=labels[is_test],
        class_names=tuple("0123456789"),
        white=16.0,
    )
