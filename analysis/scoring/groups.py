"""Groups of training examples: by C-score or another score, by class, or noisy against clean."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from analysis.estimators.consistency import cscore
from analysis.reading.counts import StoreCounts
from analysis.scoring.noise import noisy_examples
from analysis.scoring.scores import Scores, check_same_examples
from analysis.statistics.bins import bins_of
from workers.common.arrays import Floats
from workers.errors import EstimateError
from workers.store import Store

By = Literal["cscore", "class", "noise"]
MAX_GROUPS = 1000


@dataclass(frozen=True)
class Groups:
    """`names` of G groups, and int64[N] `of_example`, the group of each example: -1 for those in none.

    `requested` is how many groups by score were requested: those without examples are left out. `by` is `scores` where
    they are not the store's own.
    """

    by: By | Literal["scores"]
    names: tuple[str, ...]
    of_example: npt.NDArray[np.int64]
    requested: int = 5

    def members(self, group: int) -> npt.NDArray[np.bool_]:
        """bool[N]."""
        return np.equal(self.of_example, group)


def group_examples(
    store: Store, counts: StoreCounts, by: By = "cscore", groups: int = 5, scores: Scores | None = None
) -> Groups:
    """The groups of a store's examples, of which `counts` are the sums at all its ratios.

    `cscore`: `groups` intervals of equal width from 0 to 1, ascending, without those that hold no example; of the long
    tail, groups of equal size would show nothing. Examples without a C-score are in none. These scores rest on the
    runs whose profile is drawn, so that the lowest group holds the unlucky too, a little: more so with few runs.
    With `scores` of the same examples these take the place of the store's own C-scores; where one of them is outside
    of 0 to 1, the intervals are from the smallest to the largest.
    `class`: by the given label, which models are evaluated on. `noise`: clean and noisy. Raises EstimateError for an
    unknown `by`, for `groups` out of range, where no example has a score, for scores of other examples, and where no
    given label differs.
    """
    if by not in get_args(By):
        raise EstimateError(f"by must be one of {', '.join(get_args(By))}, got {by!r}")
    if scores is not None and by != "cscore":
        raise EstimateError(f"by must be left out with scores, got {by!r}")
    labels = counts.labels
    if by == "noise":
        return Groups(by, ("clean", "noisy"), noisy_examples(labels, store.uri).astype(np.int64))
    if by == "class":
        present, of_example = np.unique(labels.given_label, return_inverse=True)
        names = tuple(class_name(store, label) for label in present.tolist())
        return Groups(by, names, of_example.astype(np.int64))
    if isinstance(groups, bool) or not isinstance(groups, int) or not 1 <= groups <= MAX_GROUPS:
        raise EstimateError(f"groups must be a whole number of 1 to {MAX_GROUPS}, got {groups!r}")
    return _by_cscore(store, counts, groups) if scores is None else _by_scores(store, scores, groups)


def class_name(store: Store, label: int) -> str:
    """A class's name, or its number where it has none."""
    names = store.header.class_names
    return names[label] if 0 <= label < len(names) else str(label)


def _by_cscore(store: Store, counts: StoreCounts, groups: int) -> Groups:
    held_out = counts.holding_out()
    scores = cscore(held_out)["cscore"].to_numpy() if held_out.ratios else np.full(counts.labels.num_train, np.nan)
    if not np.isfinite(scores).any():
        counts.check_some_run(store.uri)
        raise EstimateError(
            f"{store.uri}: has no C-score to group by: no run held an example out; scores of another store or file "
            "can be given"
        )
    return Groups("cscore", *_intervals(scores, groups, (0.0, 1.0), "C-score"), groups)


def _by_scores(store: Store, scores: Scores, groups: int) -> Groups:
    check_same_examples(store, scores)
    values = scores.values[np.isfinite(scores.values)]
    if not len(values):
        raise EstimateError(f"{scores.source}: has no score to group by")
    ends = (float(values.min()), float(values.max()))
    within = ends[0] >= 0 and ends[1] <= 1
    name = "C-score" if scores.quantity == "cscore" else scores.quantity
    return Groups("scores", *_intervals(scores.values, groups, (0.0, 1.0) if within else ends, name), groups)


def _intervals(
    scores: Floats, groups: int, ends: tuple[float, float], name: str
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Names of intervals of equal width that hold examples, and int64[N] which each example is in, -1 for none."""
    valued, (low, high) = np.isfinite(scores), ends
    # k / groups from 0 to 1 is rounded once, as a C-score is: one that is exactly at a border lies there.
    borders = low + (high - low) * (np.arange(groups + 1) / groups)
    borders[-1] = high
    present, of_valued = np.unique(bins_of(scores[valued], borders), return_inverse=True)
    of_example = np.full(len(scores), -1, dtype=np.int64)
    of_example[valued] = of_valued
    return tuple(f"{name} {borders[k]:.3g} to {borders[k + 1]:.3g}" for k in present.tolist()), of_example
