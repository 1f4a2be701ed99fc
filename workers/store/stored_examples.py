"""The examples of a store, as `examples.parquet` has them: labels, scores, the split, and names."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from workers.campaign.campaign import Campaign
from workers.common.arrays import Bools
from workers.errors import DamagedFileError
from workers.store.example_schema import (
    CURRICULUM_SCORE,
    MASKS,
    NOISY_IMAGE,
    SEEN_BY_ENCODER,
    SPLIT_SCORE,
    ExampleNames,
    subset_score,
)
from workers.store.file_problems import EXAMPLES_FILE, damaged_file_error
from workers.store.files.base import Files
from workers.store.header import Header
from workers.store.integrity import check_flags, check_masks, check_scores
from workers.store.maintenance import open_examples
from workers.subsets.masks import SubsetMasks


class StoredExamples:
    """Reads the examples of an open store. Every method raises DamagedFileError where the file is not what it was."""

    header: Header
    _files: Files

    def examples(self, columns: Sequence[str] | None = None) -> pa.Table:
        """split (train, test), example_id, label, given_label: N + T rows in canonical order; or some columns.

        And score where subsets are explicit (score_NAME for each of several columns), split_score where
        `record.probes.split` has one, curriculum_score where `recipe.curriculum` has one, noisy_image under
        `image_noise`, seen_by_encoder of a run's features, null for test examples; masks under the design `masks`;
        label_name and given_label_name, which older stores lack; `name` where the data set has names of its examples.
        """
        with open_examples(self._files, self.header) as file:
            return file.read_all(columns)

    @cached_property
    def names(self) -> ExampleNames:
        """The names of the training and of the test examples, texts of anybody; None where they have none."""
        with open_examples(self._files, self.header) as file:
            if "name" not in file.layout.schema.names:
                return None, None
            table = file.read_all(["split", "name"])
        counts = (self.header.num_train, self.header.num_test)
        names = table["name"].combine_chunks()
        if table["split"].to_pylist() != ["train"] * counts[0] + ["test"] * counts[1]:
            raise damaged_file_error(self._files, EXAMPLES_FILE, "does not contain the examples in canonical order")
        train, test = names.slice(0, counts[0]), names.slice(counts[0])
        return None if train.null_count else train, None if test.null_count else test

    def given_labels(self) -> npt.NDArray[np.int64]:
        """int64[N], the training labels that every run sees, label noise included.

        Runs take them from here: drawn anew, another version of NumPy might draw others. Raises DamagedFileError.
        """
        table = self.examples(["split", "given_label"])
        labels = table.filter(pc.equal(table["split"], "train"))["given_label"].to_numpy().astype(np.int64)
        if len(labels) != self.header.num_train:
            problem = f"holds {len(labels)} training examples, expected {self.header.num_train}"
            raise damaged_file_error(self._files, EXAMPLES_FILE, problem)
        return np.ascontiguousarray(labels)

    def scores(self) -> dict[str, npt.NDArray[np.float64]]:
        """float64[N] by name (UNNAMED: the only ones), what explicit subsets go by; none under other designs.

        Runs take them from here, and never from the file that they came from. Raises DamagedFileError.
        """
        campaign = self.header.campaign
        names = campaign.subsets.columns if isinstance(campaign, Campaign) else ()
        return {name: self._scores(subset_score(name)) for name in names}

    def split(self) -> npt.NDArray[np.bool_] | None:
        """bool[N], the atypical examples of `record.probes.split`; None where the campaign has no such split.

        As `scores`.
        """
        campaign = self.header.campaign
        split = campaign.split if isinstance(campaign, Campaign) else None
        return None if split is None else split.members(self._scores(SPLIT_SCORE))

    def curriculum_scores(self) -> npt.NDArray[np.float64] | None:
        """float64[N], the scores of `recipe.curriculum`; None where the campaign has none. As `scores`."""
        return self._scores(CURRICULUM_SCORE) if CURRICULUM_SCORE in self.header.score_columns else None

    def masks(self) -> SubsetMasks | None:
        """The masks of `subsets.masks`; None under other designs. As `scores`."""
        if self.header.masks is None:
            return None
        column = self.examples([MASKS.name])[MASKS.name].combine_chunks()
        try:
            return check_masks(column, self.header)
        except DamagedFileError as error:
            raise damaged_file_error(self._files, EXAMPLES_FILE, error.problem) from error

    def noisy_images(self) -> Bools | None:
        """bool[N], the training examples with noise in their pixels; None where the campaign has no `image_noise`.

        Raises DamagedFileError.
        """
        return self._flags(NOISY_IMAGE)

    def seen_by_encoder(self) -> Bools | None:
        """bool[N], the training examples that the encoder of the data set's features was trained on.

        None where the data set has no features of a run. Raises DamagedFileError.
        """
        return self._flags(SEEN_BY_ENCODER)

    @property
    def encoder_text(self) -> str | None:
        """What memorization in the store means, in one line; None where the data set has no features of a run."""
        encoder, seen = self.header.encoder, self.seen_by_encoder()
        return None if encoder is None or seen is None else encoder.text(int(seen.sum()), len(seen))

    def _flags(self, name: str) -> Bools | None:
        if name not in self.header.flag_columns:
            return None
        column = self.examples([name])[name].combine_chunks()
        try:
            return check_flags(column, name, self.header)
        except DamagedFileError as error:
            raise damaged_file_error(self._files, EXAMPLES_FILE, error.problem) from error

    def _scores(self, name: str) -> npt.NDArray[np.float64]:
        column = self.examples([name])[name].combine_chunks()
        try:
            return check_scores(column, name, self.header)
        except DamagedFileError as error:
            raise damaged_file_error(self._files, EXAMPLES_FILE, error.problem) from error
