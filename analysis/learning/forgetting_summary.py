"""Forgetting of a whole data set: shares never forgotten and never learned, and the histogram of the rest."""

import numpy as np
import numpy.typing as npt
import pandas as pd

COLUMNS = (
    *("ratio", "examples", "never_presented", "unforgettable", "unforgettable_per_run", "never_learned"),
    *("forgetting", "histogram"),
)


def forgetting_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per ratio of a frame of `estimate_forgetting`, with COLUMNS.

    `examples` were shown to some run, and what follows is about them; `never_presented` counts the others.
    `unforgettable` and `never_learned` are shares of the examples, in all runs together: the first falls, the more runs
    there are. `unforgettable_per_run` is the share in one run, on average. `forgetting` is the mean number of events of
    an example in a run, `histogram` what `events_histogram` tells.
    """
    ratios = np.unique(frame["ratio"].to_numpy())
    return pd.DataFrame([_of_ratio(ratio, frame[frame["ratio"] == ratio]) for ratio in ratios], columns=list(COLUMNS))


def _of_ratio(ratio: float, rows: pd.DataFrame) -> dict[str, object]:
    shown = rows[~rows["never_presented"]]
    return {
        "ratio": ratio,
        "examples": len(shown),
        "never_presented": len(rows) - len(shown),
        "unforgettable": shown["unforgettable"].mean(),
        "unforgettable_per_run": shown["n_unforgettable"].sum() / shown["n_runs"].sum(),
        "never_learned": shown["never_learned"].mean(),
        "forgetting": shown["forgetting"].mean(),
        "histogram": events_histogram(rows),
    }


def events_histogram(rows: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Examples by their mean number of events in a run, of one ratio's rows; those never learned are left out.

    The first counts those without any event, the k-th after it those of more than k - 1 and at most k.
    """
    learned = rows[rows["n_learned"] > 0]
    return np.bincount(np.ceil(learned["forgetting"].to_numpy()).astype(np.int64), minlength=1)
