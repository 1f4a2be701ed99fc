"""Base class of a store's views: the store, the images of its examples, and frames that show both."""

from functools import cached_property
from typing import get_args

import numpy as np
import pandas as pd
from PIL import Image

from analysis.reading.names import with_names
from analysis.view.display.frame import Frame
from analysis.view.display.images import DatasetImages
from workers.campaign.campaign import Campaign
from workers.common.splits import Split
from workers.errors import EstimateError
from workers.store import Store


class View:
    """A store whose examples have images."""

    def __init__(self, store: Store, *, trust_code: bool = False) -> None:
        self.store = store
        self._trust_code = trust_code

    @cached_property
    def images(self) -> DatasetImages:
        """The images of the data set, which is loaded when the first is looked at."""
        header = self.store.header
        spec = header.campaign.dataset if isinstance(header.campaign, Campaign) else None
        return DatasetImages(spec, header.fingerprint, trust_code=self._trust_code)

    def image(self, split: Split, example_id: int, *, enlarged: int = 1) -> Image.Image:
        """An example's image, each of its pixels as `enlarged` x `enlarged` ones.

        Raises EstimateError for an example or a size that there is not, and for data that are no grey or RGB images;
        DataError where the data set cannot be loaded, or only as `open_store` with `trust_code` does.
        """
        count = self.store.header.num_train if checked_split(split) == "train" else self.store.header.num_test
        if not isinstance(example_id, int | np.integer) or not 0 <= example_id < count:
            raise EstimateError(f"example_id must be a whole number of 0 to {count - 1} ({split}), got {example_id!r}")
        if enlarged < 1:
            raise EstimateError(f"enlarged must be at least 1, got {enlarged!r}")
        self.images.load()
        return self.images.image(split, example_id, enlarged)

    def _frame(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with names, of a kind that notebooks show with images and class names."""
        return Frame.of(with_names(frame, self.store), self.images, self.store.header.class_names)


def checked_split(split: Split) -> Split:
    """Raises EstimateError where it is none."""
    if split not in get_args(Split):
        raise EstimateError(f"split must be one of {', '.join(get_args(Split))}, got {split!r}")
    return split
