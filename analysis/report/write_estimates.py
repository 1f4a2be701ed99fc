"""Writes every estimate that a store's runs allow into its estimates/ folder.

Equal results give equal bytes, whatever the shards, timings and devices: no table holds any of them, nor a date.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.estimators.consistency import consistency_profile, cscore
from analysis.estimators.diverged_bounds import diverged_notes
from analysis.estimators.memorization import estimate_memorization
from analysis.influence.discoveries import COLUMNS as DISCOVERY_COLUMNS
from analysis.influence.discoveries import influence_discoveries
from analysis.influence.estimator import COLUMNS, TOP_COLUMNS, influence_pairs, influence_top, pairs_frame
from analysis.influence.pair_options import PairOptions
from analysis.influence.pairs import Pairs
from analysis.learning.forgetting import recorded_at, sum_forgetting
from analysis.reading.bits import RatioBits, pack_runs
from analysis.reading.counts import StoreCounts, count_runs
from analysis.reading.estimate_tables import Basis, bases_of, basis, write_table
from analysis.reading.runs_read import runs_read_text
from workers.campaign.campaign import PPM
from workers.campaign.plural import count_text
from workers.common.progress import StageCallback
from workers.errors import SharedSubsetsError, TooManyPairsError
from workers.store import Store

_DISCOVERIES = "influence_discoveries"
MAX_PAIRS = 1_000_000
"""Default number of pairs kept at each ratio: 100 MB while they are written."""

_OPTIONS = PairOptions(max_pairs=MAX_PAIRS)

_OF_EXAMPLES = (
    ("memorization", estimate_memorization, "half"),
    ("consistency", consistency_profile, "nan"),
    ("cscore", cscore, "nan"),
)
"""Tables of examples, and what stands for the mean of a group without runs."""


def write_estimates(
    store: Store,
    *,
    progress: StageCallback | None = None,
    threshold: float = 0.15,
    top: int = 5,
    fdr: float = 0.05,
    options: PairOptions = _OPTIONS,
    folder: str | Path | None = None,
) -> dict[str, str]:
    """Write the estimates of all committed runs at their last epoch; returns the path of each by its name.

    Into the store's estimates/, or into `folder`, which is made where there is none.

    memorization, consistency, cscore, and with a test set influence_top (the `top` of each test example),
    influence_pairs (infl >= threshold) and influence_discoveries (at the false discovery rate `fdr`, one for the list
    over all ratios), over the ratios under 1: at ratio 1 nothing is held out. forgetting at every ratio: at
    presentations where they are recorded, else at the evaluations where those of several epochs are (`at` in its
    metadata). Ratios whose runs all diverged are left out; so are the pairs of a ratio of which there are more than
    `options.max_pairs`, as many reach the threshold by chance after a few runs (`progress` and the file's metadata
    tell), and the discoveries where there are more than that. Memorization at an empty group follows the paper (1/2);
    lists of pairs leave out those that rest on one. The campaign may be unfinished. The files' metadata tell the runs
    used, those left out as diverged and the epoch at each ratio, and the conventions; `progress` tells what diverged
    runs could have changed, and the numbers of pairs beside those of discoveries.
    Raises EstimateError where no run is left.
    """
    report_stage = progress or (lambda line: None)
    options = replace(options, empty="nan")
    confidence = options.confidence
    report_stage("counting")
    counts = count_runs(store)
    counts.check_some_run(store.uri)
    report_stage(runs_read_text(counts.ratios, store.targets()))
    written = _write_forgetting(store, counts, report_stage, folder, confidence)
    holding_out = [ratio for ratio in counts.ratios if ratio.ratio_ppm < PPM]
    usable = StoreCounts(counts.labels, tuple(at for at in holding_out if at.runs))
    if not usable.ratios:
        return written
    bases = bases_of(holding_out)
    report_stage("memorization, consistency and C-score")
    for note in diverged_notes(counts.ratios):
        report_stage(note)
    metadata = {"confidence": repr(float(confidence))}
    written |= {
        name: write_table(store, name, estimate(usable, confidence=confidence), bases, folder, empty=empty, **metadata)
        for name, estimate, empty in _OF_EXAMPLES
    }
    if usable.labels.num_test:
        lists = {
            "influence_top": _Listing(
                partial(influence_top, top=top, options=options), TOP_COLUMNS, {**metadata, "top": str(top)}
            ),
            "influence_pairs": _Listing(
                partial(influence_pairs, threshold=threshold, options=options),
                COLUMNS,
                {**metadata, "threshold": repr(float(threshold))},
            ),
        }
        discoveries = _Listing(
            partial(influence_discoveries, fdr=fdr, options=options),
            DISCOVERY_COLUMNS,
            {**metadata, "fdr": repr(float(fdr)), "tested": "all pairs of all ratios together"},
        )
        written |= _write_influence(store, usable, bases, report_stage, {**lists, _DISCOVERIES: discoveries}, folder)
    return written


def _write_forgetting(
    store: Store, counts: StoreCounts, report_stage: StageCallback, folder: str | Path | None, confidence: float
) -> dict[str, str]:
    at = recorded_at(store)
    if at is None:
        return {}
    report_stage(f"forgetting at {at}")
    counted = sum_forgetting(store, at=at)
    frame = pd.concat([each.frame(counts.labels, confidence) for each in counted], ignore_index=True)
    bases = bases_of(counts.ratios)
    for each in counted:
        of_ratio = str(each.ratio_ppm / PPM)
        bases[of_ratio] = {
            **bases.get(of_ratio, {}),
            "runs": each.runs,
        }  # may rest on runs committed after the counting
    metadata = {"at": at, "confidence": repr(float(confidence))}
    return {"forgetting": write_table(store, "forgetting", frame, bases, folder, **metadata)}


@dataclass(frozen=True)
class _Listing:
    """A list of pairs of one ratio, or of several; its columns, and what was chosen for it."""

    make: Callable[[Any], pd.DataFrame]
    columns: Sequence[str]
    options: dict[str, str]

    def none(self, bits: RatioBits) -> pd.DataFrame:
        """The list without a pair."""
        frame = pairs_frame(bits, Pairs.join([]))
        further = {name: np.zeros(0) for name in self.columns if name not in frame}
        return frame.assign(**further)[list(self.columns)]


def _write_influence(
    store: Store,
    usable: StoreCounts,
    bases: dict[str, Basis],
    report_stage: StageCallback,
    lists: Mapping[str, _Listing],
    folder: str | Path | None,
) -> dict[str, str]:
    """Lists ratio by ratio, then the discoveries among all ratios' pairs."""
    discoveries = lists[_DISCOVERIES]
    of_ratios = {each: listing for each, listing in lists.items() if each != _DISCOVERIES}
    frames: dict[str, list[pd.DataFrame]] = {name: [] for name in lists}
    left_out: dict[str, list[float]] = {name: [] for name in lists}
    ratios: list[RatioBits] = []
    for ratio in usable.ratios:
        report_stage(f"influence at ratio {ratio.ratio}")
        bits = pack_runs(store, ratio.ratio)
        ratios.append(bits)
        bases[str(ratio.ratio)] = basis(bits)  # may rest on runs that were committed after the counting
        for name, listing in of_ratios.items():
            try:
                frames[name].append(listing.make(bits))
            except TooManyPairsError as error:
                left_out[name].append(ratio.ratio)
                report_stage(f"left out of {name}: {error}")
                frames[name].append(listing.none(bits))
    name = _DISCOVERIES
    report_stage(f"influence: tests of all pairs at {count_text(len(ratios), 'ratio')}")
    try:
        frame, left_out[name] = discoveries.make(ratios), []
    except (TooManyPairsError, SharedSubsetsError) as error:
        frame, left_out[name] = discoveries.none(ratios[0]), [bits.ratio for bits in ratios]
        report_stage(f"left out of {name}: {error}")
    frames[name] = [frame]
    _report_counts(frames["influence_pairs"], lists["influence_pairs"], frame, left_out, discoveries, report_stage)
    return {
        name: write_table(
            store,
            name,
            pd.concat(frames[name], ignore_index=True),
            bases,
            folder,
            empty="nan",
            left_out=json.dumps(left_out[name]),
            **listing.options,
        )
        for name, listing in lists.items()
    }


def _report_counts(
    listed: Sequence[pd.DataFrame],
    listing: _Listing,
    frame: pd.DataFrame,
    left_out: Mapping[str, Sequence[float]],
    discoveries: _Listing,
    report_stage: StageCallback,
) -> None:
    """How many pairs reach the threshold says little where many do by chance: the discoveries beside it."""
    pairs = f"{count_text(sum(map(len, listed)), 'pair')} have an influence of {listing.options['threshold']} or more"
    pairs += " (without the ratios left out)" if left_out["influence_pairs"] else ""
    if left_out[_DISCOVERIES]:
        report_stage(f"{pairs}; which of them are discoveries is not known")
        return
    rate = float(discoveries.options["fdr"])
    report_stage(
        f"{pairs}; {len(frame):,} are discoveries at a false discovery rate of {rate:.3g} over all ratios together"
    )
