"""Inputs of a data set's examples in a report: images, or the first features of other inputs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from orchestrator.report.pictures import Pictures
from workers.campaign.campaign import Campaign
from workers.common.arrays import Floats, Integers
from workers.common.splits import Split
from workers.datasets import Dataset, load_dataset
from workers.errors import LongtailError
from workers.store import Store

MAX_FEATURES = 12


@dataclass(frozen=True)
class Inputs:
    """`pictures` of a data set, or `without_images`, the data set that has none; `missing`: why there are no images."""

    pictures: Pictures | None = None
    without_images: Dataset | None = None
    missing: str = ""

    def features(self, split: Split, ids: Integers) -> Floats | None:
        """float64[len(ids), up to MAX_FEATURES]: the first values of examples that are no images; None without any."""
        data = self.without_images
        if data is None:
            return None
        inputs = data.train_images if split == "train" else data.test_images
        return inputs.reshape(len(inputs), -1)[ids, :MAX_FEATURES].astype(np.float64)


def load_inputs(store: Store, warn: Callable[[str], None] = lambda line: None, *, trust_code: bool = False) -> Inputs:
    """The inputs of a store's data set, where it is here.

    `trust_code`: a function of the campaign's may be called, and missing files downloaded.
    """
    campaign = store.header.campaign
    if not isinstance(campaign, Campaign):
        reason = "The runs were imported: their data set is not known here, so examples are shown by their ids."
        return Inputs(missing=reason)
    try:
        dataset = load_dataset(campaign.dataset, store.header.fingerprint, trusted=trust_code)
    except LongtailError as error:
        warn(f"note: no images: {error}")
        # Without the error: it may name folders of this machine.
        return Inputs(missing="The data set could not be loaded here, so examples are shown by their ids.")
    shape = dataset.input_shape
    if len(shape) != 3 or shape[0] not in (1, 3):
        reason = "The data set has no grey or RGB images, so examples are shown by their ids and first features."
        return Inputs(without_images=dataset, missing=reason)
    return Inputs(Pictures(dataset))
