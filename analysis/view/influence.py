"""Influence estimates as data frames."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.influence.datamodels.fitting import Datamodels, fit_datamodels
from analysis.influence.datamodels.linear_fits import Method
from analysis.influence.discoveries import influence_discoveries
from analysis.influence.estimator import influence_matrix, influence_pairs, influence_top
from analysis.influence.group_influence import Affected, group_influence
from analysis.influence.high_influence import PUBLISHED, PairSelection, influential_pairs
from analysis.influence.output_influence import output_influence_pairs, output_influence_top
from analysis.influence.pair_options import MAX_PAIRS, MEMORY_MB, PairOptions
from analysis.influence.pair_sides import pair_uniqueness, training_side_table
from analysis.reading.bits import Direction, pack_runs
from analysis.reading.examples import read_labels
from analysis.reading.outputs import TestOutput, read_outputs
from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.means import Empty
from analysis.view.base import View
from workers.common.splits import Split
from workers.errors import EstimateError


class InfluenceView(View):
    """The part of a `StoreView` that is about pairs of a training and a test example."""

    def influence(
        self,
        *,
        ratio: float | None = None,
        epoch: int | None = None,
        empty: Empty = "nan",
        output: TestOutput = "correctness",
        direction: Direction = "helpful",
        affected: Split = "test",
        tests: slice | npt.ArrayLike = slice(None),
        top: int | None = None,
        threshold: float | None = None,
        confidence: float = CONFIDENCE,
        memory_mb: float = MEMORY_MB,
        max_pairs: int = MAX_PAIRS,
    ) -> pd.DataFrame:
        """Influence of training on test examples: the `top` of each test example, or the pairs that reach `threshold`.

        With neither, the top 5. `tests` chooses test examples: a slice, ids, or a mask. Columns and options:
        `analysis.influence.estimator`; of another `output` than correctness, for which `empty` does not apply:
        `analysis.influence.output_influence`. `direction` is `helpful` for positive influence, `harmful` for negative
        (with `threshold`: infl <= -threshold) or `both`; `affected` is `test`, or `train` for influence on the
        correctness of training examples, whichever runs trained on them. Raises EstimateError for both, IndexError for
        a test example that there is not.
        """
        if top is not None and threshold is not None:
            raise EstimateError(f"give top or threshold, not both, got top={top!r} and threshold={threshold!r}")
        options = PairOptions(empty, confidence, memory_mb, max_pairs)
        if output != "correctness":
            if (direction, affected) != ("helpful", "test"):
                raise EstimateError(f"output must be correctness with direction or affected, got {output!r}")
            source = read_outputs(self.store, ratio, tests, epoch, output)
            if threshold is None:
                return self._frame(output_influence_top(source, top=5 if top is None else top, options=options))
            return self._frame(output_influence_pairs(source, threshold=threshold, options=options))
        bits = pack_runs(self.store, ratio, epoch, affected).of_directions(direction)
        if threshold is None:
            frames = [influence_top(each, tests=tests, top=5 if top is None else top, options=options) for each in bits]
        else:
            frames = [influence_pairs(each, tests=tests, threshold=threshold, options=options) for each in bits]
        return self._frame(pd.concat(frames, ignore_index=True))

    def discoveries(
        self,
        *,
        ratio: float | None = None,
        epoch: int | None = None,
        direction: Direction = "helpful",
        affected: Split = "test",
        fdr: float = 0.05,
        same_class: bool = False,
        confidence: float = CONFIDENCE,
        memory_mb: float = MEMORY_MB,
        max_pairs: int = MAX_PAIRS,
    ) -> pd.DataFrame:
        """The pairs of positive influence at a false discovery rate: see `analysis.influence.discoveries`.

        `direction` and `affected` are as in `influence`; with `both`, positive and negative pairs are tested together.
        """
        options = PairOptions(confidence=confidence, memory_mb=memory_mb, max_pairs=max_pairs)
        bits = pack_runs(self.store, ratio, epoch, affected).of_directions(direction)
        frame = influence_discoveries(bits, fdr=fdr, same_class=same_class, options=options)
        return self._frame(frame)

    def group_influence(
        self,
        *,
        ratio: float | None = None,
        epoch: int | None = None,
        groups: npt.ArrayLike | None = None,
        on: Affected = "class",
        confidence: float = CONFIDENCE,
    ) -> pd.DataFrame:
        """Influence of groups of training examples on test examples, classes, or all: see
        `analysis.influence.group_influence`.

        `groups` are N numbers, NaN for examples of none; None: the given labels.
        """
        bits = pack_runs(self.store, ratio, epoch)
        numbers = bits.labels.given_label if groups is None else groups
        return self._frame(group_influence(bits, numbers, on=on, options=PairOptions(confidence=confidence)))

    def influence_matrix(
        self,
        tests: slice | npt.ArrayLike = slice(None),
        *,
        ratio: float | None = None,
        epoch: int | None = None,
        empty: Empty = "half",
        memory_mb: float = MEMORY_MB,
    ) -> npt.NDArray[np.float32]:
        """infl as float32[len(tests), N] for selected test examples: a slice, ids, or a mask of length T."""
        return influence_matrix(
            pack_runs(self.store, ratio, epoch), tests, options=PairOptions(empty, memory_mb=memory_mb)
        )

    def influential_pairs(
        self,
        *,
        ratio: float | None = None,
        epoch: int | None = None,
        empty: Empty = "nan",
        min_infl: float = 0.15,
        min_mem: float | None = 0.25,
        same_class: bool = True,
        confidence: float = CONFIDENCE,
        memory_mb: float = MEMORY_MB,
        max_pairs: int = MAX_PAIRS,
    ) -> pd.DataFrame:
        """The published selection of high-influence pairs, with `mem`: see `analysis.influence.high_influence`."""
        frame = influential_pairs(
            self.store,
            ratio,
            min_infl=min_infl,
            min_mem=min_mem,
            same_class=same_class,
            epoch=epoch,
            options=PairOptions(empty, confidence, memory_mb, max_pairs),
        )
        return self._frame(frame)

    def pair_uniqueness(
        self,
        *,
        ratio: float | None = None,
        epoch: int | None = None,
        selection: PairSelection = PUBLISHED,
        confidence: float = CONFIDENCE,
        memory_mb: float = MEMORY_MB,
    ) -> pd.DataFrame:
        """Numbers of selected pairs, of their examples, and of test examples in one pair only, with errors over runs.

        See `analysis.influence.pair_sides`.
        """
        options = PairOptions(confidence=confidence, memory_mb=memory_mb)
        return pair_uniqueness(self.store, ratio, selection=selection, epoch=epoch, options=options)

    def training_side(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """A row for each training example: how many of these pairs it is in, a table for `subsets.scores`.

        See `analysis.influence.pair_sides.training_side_table`.
        """
        return self._frame(training_side_table(pairs, read_labels(self.store)))

    def datamodels(
        self,
        *,
        ratio: float | None = None,
        epoch: int | None = None,
        tests: slice | npt.ArrayLike = slice(None),
        method: Method = "ridge",
        top: int = 10,
        heldout: float = 0.2,
        seed: int = 0,
    ) -> Datamodels:
        """Linear datamodels of test examples (a slice, ids, or a mask), and their scores.

        See `analysis.influence.datamodels.fitting`.
        """
        source = read_outputs(self.store, ratio, tests, epoch)
        fits = fit_datamodels(source, method=method, top=top, heldout=heldout, seed=seed)
        return replace(fits, weights=self._frame(fits.weights), scores=self._frame(fits.scores))
