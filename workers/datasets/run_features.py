"""Features of every example by one run's model, and the arrays of the npz file that holds them.

    train_features, test_features      float32[N, D], float32[T, D]
    train_labels, test_labels          int64[N], int64[T], the data set's own
    given_labels                       int64[N], which the encoder was trained on: differ under label noise
    seen_by_encoder                    bool[N]
    metadata                           uint8, JSON: see `FeatureMetadata`

Nothing in the file is compressed or pickled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import Field, JsonValue

from workers.campaign.dataset_spec import Encoder
from workers.campaign.field_types import Frozen, Sha256
from workers.common.arrays import AnyArray, Bools, Float32s, Integers
from workers.datasets.dataset import Dataset

FORMAT = 1
FEATURES = ("train_features", "test_features")
DTYPES = {
    **dict.fromkeys(FEATURES, "<f4"),
    **dict.fromkeys(("train_labels", "test_labels", "given_labels"), "<i8"),
    "seen_by_encoder": "|b1",
}
"""The arrays of a file beside its metadata, and their types."""
METADATA = "metadata"
MAX_METADATA = 64 << 20
"""Bytes. Names of examples that would take more are left out."""

Texts = Annotated[tuple[str, ...], Field(strict=False)]


class FeatureMetadata(Frozen):
    """What a file of features says beside its arrays."""

    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)] = FORMAT
    encoder: Encoder
    model: dict[str, JsonValue]
    """The encoder's, as in its campaign."""
    verified: bool
    """Whether the encoder reproduced every bit that the store recorded of the run."""
    fingerprint: Sha256
    """Of the features as a data set."""
    class_names: Texts
    train_names: Texts | None = None
    test_names: Texts | None = None


@dataclass(frozen=True, eq=False)
class RunFeatures:
    """Penultimate-layer features of all training and test examples, in evaluation mode, by one run's model.

    The arrays are those of the file: see `workers.datasets.run_features`.
    """

    train_features: Float32s
    test_features: Float32s
    train_labels: Integers
    test_labels: Integers
    given_labels: Integers
    seen_by_encoder: Bools
    class_names: tuple[str, ...]
    encoder: Encoder
    model: Mapping[str, JsonValue]
    """The encoder's fields, as in its campaign."""
    differences: tuple[str, ...] = ()
    """What differs between the encoder and the store's record of the run: see `Replay.differences`."""
    train_names: tuple[str, ...] | None = None
    test_names: tuple[str, ...] | None = None

    @cached_property
    def dataset(self) -> Dataset:
        """The features as a data set. Raises DataError where one is not finite."""
        return Dataset(
            self.train_features,
            self.train_labels,
            self.test_features,
            self.test_labels,
            self.class_names,
            train_names=self.train_names,
            test_names=self.test_names,
        )

    @property
    def metadata(self) -> FeatureMetadata:
        """What the file says beside the arrays."""
        return FeatureMetadata(
            encoder=self.encoder,
            model=dict(self.model),
            verified=not self.differences,
            fingerprint=self.dataset.fingerprint,
            class_names=self.class_names,
            train_names=self.train_names,
            test_names=self.test_names,
        )

    def arrays(self) -> dict[str, AnyArray]:
        """Those of the file, by name."""
        names = {"train_names", "test_names"}
        described = self.metadata.model_dump_json(exclude_none=True).encode()
        if len(described) > MAX_METADATA:
            described = self.metadata.model_dump_json(exclude_none=True, exclude=names).encode()
        arrays = {name: np.ascontiguousarray(getattr(self, name), dtype=dtype) for name, dtype in DTYPES.items()}
        return {**arrays, METADATA: np.frombuffer(described, np.uint8)}
