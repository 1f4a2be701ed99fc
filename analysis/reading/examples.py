"""Labels of the examples, in canonical order."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from workers.errors import DamagedFileError
from workers.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Labels:
    """int64[N] `label` and `given_label` (what the models saw: differs under label noise), int64[T] `test_label`.

    bool[N] `noisy_image`: noise was added to the pixels; None: to none.
    """

    label: npt.NDArray[np.int64]
    given_label: npt.NDArray[np.int64]
    test_label: npt.NDArray[np.int64]
    noisy_image: npt.NDArray[np.bool_] | None = field(default=None, kw_only=True)

    @property
    def noisy(self) -> npt.NDArray[np.bool_]:
        """bool[N], the examples with noise on purpose: another label than the data set's, or noise in the pixels."""
        noisy: npt.NDArray[np.bool_] = self.given_label != self.label
        return noisy if self.noisy_image is None else noisy | self.noisy_image

    @property
    def num_train(self) -> int:
        """N."""
        return len(self.label)

    @property
    def num_test(self) -> int:
        """T."""
        return len(self.test_label)

    def columns(self) -> "pd.DataFrame":
        """N rows: example_id, label, given_label."""
        import pandas as pd  # here: counting needs none

        ids = np.arange(self.num_train, dtype=np.int64)
        return pd.DataFrame({"example_id": ids, "label": self.label, "given_label": self.given_label})


def read_labels(store: Store) -> Labels:
    """The labels in a store. Raises DamagedFileError where they are not those of N + T examples."""
    table = store.examples(["split", "label", "given_label"])
    train, test = (table.filter(pc.equal(table["split"], split)) for split in ("train", "test"))
    expected = (store.header.num_train, store.header.num_test)
    if (len(train), len(test)) != expected:
        raise DamagedFileError(
            f"{store.uri}: examples.parquet holds {len(train)} training and {len(test)} test examples, "
            f"expected {expected[0]} and {expected[1]}"
        )
    return Labels(
        label=train["label"].to_numpy().astype(np.int64),
        given_label=train["given_label"].to_numpy().astype(np.int64),
        test_label=test["label"].to_numpy().astype(np.int64),
        noisy_image=store.noisy_images(),
    )
