"""Runs, examples and recorded vectors as data frames."""

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.reading.recorded_output import recorded_output
from analysis.reading.selection import committed_ratios, scan_epoch, select_ratios
from analysis.view.base import View, checked_split
from workers.campaign.campaign import PPM, Campaign
from workers.campaign.record import Output
from workers.common.splits import Split
from workers.errors import EstimateError

_SCALAR_COLUMNS = (
    *("run_id", "ratio", "repetition", "epoch", "is_final", "subset_accuracy", "heldout_accuracy", "test_accuracy"),
    *("train_loss", "seconds", "device", "status"),
)
_MEANS = ("subset_accuracy", "heldout_accuracy", "test_accuracy", "train_loss")


class TrainedView(View):
    """The part of a `StoreView` that is about the runs."""

    @property
    def campaign(self) -> Campaign:
        """The campaign as first given. Raises EstimateError where the runs were imported."""
        campaign = self.store.header.campaign
        if not isinstance(campaign, Campaign):
            raise EstimateError(f"{self.store.uri}: has no campaign, its runs were imported ({campaign.experiment})")
        return campaign

    @property
    def ratios(self) -> tuple[float, ...]:
        """The ratios that have committed runs, ascending."""
        return tuple(ratio_ppm / PPM for ratio_ppm in committed_ratios(self.store))

    def runs(self) -> pd.DataFrame:
        """One row per run and recorded epoch, ascending; reads no vectors.

        run_id, ratio, repetition, epoch, is_final, subset_accuracy, heldout_accuracy, test_accuracy, train_loss (NaN
        where it rests on nothing or is not finite), seconds, device, status (completed, diverged).
        """
        tables = [table for _, table in self.store.scan(_SCALAR_COLUMNS)]
        if not tables:
            return self._frame(pd.DataFrame(columns=list(_SCALAR_COLUMNS)))
        return self._frame(pa.concat_tables(tables).to_pandas())

    def examples(self, split: Split | None = None) -> pd.DataFrame:
        """One row per example: split, example_id, label, given_label; of one split or of both."""
        frame = self._frame(self.store.examples().to_pandas())
        return frame if split is None else frame[frame["split"] == checked_split(split)].reset_index(drop=True)

    def correctness(self, split: Split, *, ratio: float | None = None, epoch: int | None = None) -> pd.DataFrame:
        """bool frame, one row per run (index run_id), one column per example: did it predict the label at that epoch.

        Takes one byte a value. Holds diverged runs too: `runs()` tells which they are.
        """
        return self._vectors(f"{checked_split(split)}_correct", ratio, epoch)

    def margins(self, *, ratio: float | None = None, epoch: int | None = None) -> pd.DataFrame:
        """float16 frame as `correctness("test")`: the label's logit less the largest other one: `outputs("margin")`."""
        return self.outputs("margin", "test", ratio=ratio, epoch=epoch)

    def outputs(
        self, output: Output, split: Split, *, ratio: float | None = None, epoch: int | None = None
    ) -> pd.DataFrame:
        """Frame as `correctness(split)`: an output of each model for each example, in evaluation mode.

        `margin`, `loss` and `probability` are float16: NaN where a logit is not finite, 65,504 or -65,504 where a value
        is beyond that. `prediction` is int16: the predicted class, -1 where a logit is not finite. Raises
        EstimateError where the campaign does not record the output.
        """
        column = recorded_output(self.store, output, checked_split(split))
        return self._vectors(column, ratio, epoch)

    def subsets(self, *, ratio: float | None = None) -> pd.DataFrame:
        """bool frame, one row per run (index run_id), one column per training example: did the run train on it."""
        return self._vectors("subset", ratio, None)

    def summary(self) -> pd.DataFrame:
        """One row per ratio with committed runs: ratio, runs, diverged, requested, mean accuracies and loss, seconds.

        `runs` counts all committed ones, `requested` those requested so far. Means are over the runs that did not
        diverge, at their last epoch; seconds are summed over all.
        """
        runs = self.runs()
        final = runs[runs["is_final"].astype(bool)]
        requested = {ratio_ppm / PPM: repetitions for ratio_ppm, repetitions in self.store.targets().items()}
        rows = []
        for ratio in self.ratios:
            of_ratio = final[final["ratio"] == ratio]
            used = of_ratio[of_ratio["status"] != "diverged"]
            means = {name: used[name].mean() for name in _MEANS}
            counts = {
                "runs": len(of_ratio),
                "diverged": len(of_ratio) - len(used),
                "requested": requested.get(ratio, len(of_ratio)),
            }
            rows.append({"ratio": ratio, **counts, **means, "seconds": of_ratio["seconds"].sum()})
        frame = pd.DataFrame(rows, columns=["ratio", "runs", "diverged", "requested", *_MEANS, "seconds"])
        return self._frame(frame)

    def _vectors(self, column: str, ratio: float | None, epoch: int | None) -> pd.DataFrame:
        """One vector column of every run, diverged ones included, as a frame."""
        chosen = select_ratios(self.store, ratio)
        ids: list[str] = []
        blocks = []
        for rows in scan_epoch(self.store, ("run_id", column), None if ratio is None else chosen[0], epoch):
            ids += rows.table["run_id"].to_pylist()
            blocks.append(self.store.vectors(rows.shard, rows.table, column))
        matrix = np.concatenate(blocks)
        columns = pd.RangeIndex(matrix.shape[1], name="example_id")
        return pd.DataFrame(matrix, index=pd.Index(ids, name="run_id"), columns=columns)
