"""Writes every estimate that a store's runs allow into its estimates/ folder.

Equal results give equal bytes, whatever the shards, timings and devices: no table holds any of them, nor a date.
"""

import json
from collections.abc import Callable, Mapping

import pandas as pd
import pyarrow as pa

from analysis.bits import RatioBits, pack_runs
from analysis.consistency import consistency_profile, cscore
from analysis.counts import RatioCounts, StoreCounts, count_runs
from analysis.errors import EstimateError, TooManyPairsError
from analysis.influence import influence_pairs, influence_top, pairs_frame
from analysis.memorization import estimate_memorization
from analysis.pairs import Pairs
from workers.campaign import PARTS
from workers.store import Store

MAX_PAIRS = 1_000_000
"""Pairs kept at each ratio, unless told otherwise: 100 MB while they are written."""

Progress = Callable[[str], None]
"""Called with one line at the start of each step."""

Basis = Mapping[str, int | None]
"""What an estimate rests on at one ratio: runs used, diverged runs left out, the epoch."""


def write_estimates(
    store: Store,
    *,
    progress: Progress | None = None,
    threshold: float = 0.15,
    top: int = 5,
    max_pairs: int = MAX_PAIRS,
) -> dict[str, str]:
    """Write the estimates of all committed runs at their last epoch; returns the path of each by its name.

    memorization, consistency, cscore, and with a test set influence_top (the `top` of each test example) and
    influence_pairs (infl >= threshold), over the ratios under 1: at ratio 1 nothing is held out. Ratios whose runs all
    diverged are left out; so are the pairs of a ratio at which more than `max_pairs` reach the threshold, as they do by
    chance after a few runs (`progress` and the file's metadata tell). The campaign may be unfinished. The files'
    metadata tell the runs used, those left out as diverged and the epoch at each ratio, and the conventions.
    Raises EstimateError where no run is left.
    """
    tell = progress or (lambda line: None)
    tell("counting")
    counts = count_runs(store)
    _check_runs(store, counts)
    holding_out = [at for at in counts.ratios if at.parts < PARTS]
    usable = StoreCounts(counts.labels, tuple(at for at in holding_out if at.runs))
    if not usable.ratios:
        return {}
    bases = {str(at.ratio): _basis(at) for at in holding_out}
    tell("memorization, consistency and C-score")
    written = {
        "memorization": _write(store, "memorization", estimate_memorization(usable), bases, empty="half"),
        "consistency": _write(store, "consistency", consistency_profile(usable), bases, empty="nan"),
        "cscore": _write(store, "cscore", cscore(usable), bases, empty="nan"),
    }
    if usable.labels.num_test:
        written |= _write_influence(store, usable, bases, tell, threshold, top, max_pairs)
    return written


def _write_influence(
    store: Store,
    usable: StoreCounts,
    bases: dict[str, Basis],
    tell: Progress,
    threshold: float,
    top: int,
    max_pairs: int,
) -> dict[str, str]:
    tops, pairs, left_out = [], [], []
    for at in usable.ratios:
        tell(f"influence at ratio {at.ratio}")
        bits = pack_runs(store, at.ratio)
        bases[str(at.ratio)] = _basis(bits)  # may rest on runs that were committed after the counting
        tops.append(influence_top(bits, top=top))
        try:
            pairs.append(influence_pairs(bits, threshold=threshold, max_pairs=max_pairs))
        except TooManyPairsError as error:
            pairs.append(pairs_frame(bits, Pairs.join([]), "half"))
            left_out.append(at.ratio)
            tell(f"left out of influence_pairs: {error}")
    conventions = {"empty": "half", "threshold": repr(float(threshold)), "left_out": json.dumps(left_out)}
    return {
        "influence_top": _write(
            store, "influence_top", pd.concat(tops, ignore_index=True), bases, empty="half", top=str(top)
        ),
        "influence_pairs": _write(store, "influence_pairs", pd.concat(pairs, ignore_index=True), bases, **conventions),
    }


def _check_runs(store: Store, counts: StoreCounts) -> None:
    if not any(at.runs for at in counts.ratios):
        diverged = sum(at.diverged for at in counts.ratios)
        raise EstimateError(f"{store.uri}: has no run to estimate from, all {diverged} committed runs diverged")


def _basis(at: RatioCounts | RatioBits) -> Basis:
    return {"runs": at.runs, "diverged": at.diverged, "epoch": at.epoch}


def _write(store: Store, name: str, frame: pd.DataFrame, bases: Mapping[str, Basis], **conventions: str) -> str:
    table = pa.table({column: frame[column].to_numpy() for column in frame.columns})
    provenance = {"estimate": name, "campaign": store.header.identity, "ratios": json.dumps(bases)}
    return store.write_estimate(name, table, {**provenance, **conventions})
