"""Findings of a report, computed from a store's results, and the reason for each one that is absent.

Memorization and influence belong to one ratio: the one requested, else the `preferred_ratio`. What is about training
(learning curves, forgetting, suspects) is taken at the largest ratio.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.estimators.consistency import consistency_profile, cscore
from analysis.estimators.diverged_bounds import diverged_notes
from analysis.estimators.memorization import estimate_memorization
from analysis.estimators.removal import removal_curve
from analysis.learning.forgetting import estimate_forgetting, recorded_at
from analysis.reading.counts import StoreCounts, count_runs
from analysis.reading.examples import Labels, read_labels
from analysis.reading.parallel import ParallelMap
from analysis.reading.predictions import HeldOutPredictions, read_predictions
from analysis.reading.run_groups import group_runs
from analysis.reading.runs_read import runs_read_text
from analysis.reading.selection import select_ratios
from analysis.report.influence_findings import InfluenceFindings, find_influence
from analysis.report.probed import Probed, find_probed
from analysis.report.vulnerability_findings import VulnerabilityFindings, find_vulnerability
from analysis.scoring.example_scores import largest_ratio, read_example_scores
from analysis.scoring.groups import Groups, group_examples
from analysis.scoring.learning_curves import learning_curves, recorded_kinds
from analysis.scoring.profiles import group_profiles
from analysis.scoring.suspects import chosen_score, rank_suspects
from workers.campaign.campaign import PPM
from workers.common.progress import StageCallback
from workers.errors import EstimateError, NoEstimateError
from workers.store import Store

MAX_PREDICTIONS = 500_000_000
"""Examples times classes, of 4 bytes each: of more a report counts no predictions."""


@dataclass
class Findings:
    """A store's estimates; a frame that the store does not allow is None, and `missing` has the reason by part.

    `mem` is at `ratio`, NaN for examples that no run held out, or all; `consistency` is float64[R, N] at `ratios`,
    the mean over int64[R, N] `held_out` runs.
    `diverged` tells what diverged runs could have changed. `suspects` are ranked by the score `suspects_by`, with the
    classes of `predictions`, which are over all ratios. `vulnerability` and `predictions` are of stores that record the
    outputs they need, `probed` of those with probes.
    """

    store: Store
    labels: Labels
    ratio: float | None = None
    mem: pd.DataFrame | None = None
    cscore: pd.DataFrame | None = None
    ratios: tuple[float, ...] = ()
    consistency: npt.NDArray[np.float64] | None = None
    held_out: npt.NDArray[np.int64] | None = None
    profiles: pd.DataFrame | None = None
    learning: pd.DataFrame | None = None
    learning_by: str = "cscore"
    forgetting: pd.DataFrame | None = None
    forgetting_at: str | None = None
    influence: InfluenceFindings | None = None
    vulnerability: VulnerabilityFindings | None = None
    diverged: tuple[str, ...] = ()
    suspects: pd.DataFrame | None = None
    suspects_by: str | None = None
    predictions: HeldOutPredictions | None = None
    removal: pd.DataFrame | None = None
    probed: Probed | None = None
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def top(self) -> pd.DataFrame | None:
        """The most influential training examples of each test example."""
        return None if self.influence is None else self.influence.top

    @property
    def test(self) -> pd.DataFrame | None:
        """One row per test example: the share of the runs at `ratio` that get it right, with its limits."""
        return None if self.influence is None else self.influence.test


def find(
    store: Store,
    ratio: float | None = None,
    progress: StageCallback = lambda line: None,
    parallel: ParallelMap | None = None,
) -> Findings:
    """A store's findings; `ratio` is that of mem and influence, `progress` is called with each step's name.

    Blocks of pairs are computed by `parallel` (None: on all cores).

    Raises EstimateError for a ratio at which no run held an example out, and where the store has no run that did not
    diverge; DamagedFileError for an unreadable file.
    """
    findings = Findings(store, read_labels(store))
    if store.header.probe_columns:
        progress("probes")
        _find_probed(findings)
    if store.header.scored:
        findings.removal = removal_curve(store)
        findings.missing["subsets"] = (
            "The subsets of this campaign are explicit, not random, so that memorization, influence, C-score and "
            "forgetting are not estimated."
        )
        return findings
    progress("counting")
    counts = count_runs(store)
    if not any(ratio.runs for ratio in counts.ratios):
        raise NoEstimateError(f"{store.uri}: has no run to report on, all committed runs diverged")
    progress(runs_read_text(counts.ratios, store.targets()))
    findings.diverged = tuple(diverged_notes(counts.ratios))
    findings.ratio = _ratio_of(store, counts, ratio)
    _find_held_out(findings, counts)
    if findings.ratio is not None:
        progress(f"influence at ratio {findings.ratio:g}")
        _find_influence(findings, parallel)
        _find_vulnerability(findings)
    progress("learning and forgetting")
    _find_learning(findings, counts)
    progress("suspects")
    _find_suspects(findings)
    return findings


def _find_probed(findings: Findings) -> None:
    try:
        findings.probed = find_probed(findings.store)
    except NoEstimateError:
        probes = findings.store.header.record.probes
        count = 0 if probes is None else probes.repetitions
        findings.missing["probes"] = (
            f"No run that probes measure ({count:,} at each ratio, the first) is committed without having diverged."
        )


def _ratio_of(store: Store, counts: StoreCounts, ratio: float | None) -> float | None:
    usable = counts.holding_out().ratios
    if ratio is None:
        best = counts.ratio_of_most_runs()
        return None if best is None else best.ratio
    (ratio_ppm,) = select_ratios(store, ratio)
    counts.check_some_run(store.uri, ratio_ppm)
    if ratio_ppm not in [ratio_counts.ratio_ppm for ratio_counts in usable]:
        allowed = ", ".join(f"{ratio_counts.ratio:g}" for ratio_counts in usable) or "none: no run held an example out"
        raise EstimateError(
            f"{store.uri}: ratio must be one of those that hold examples out ({allowed}), got {ratio!r}"
        )
    return ratio_ppm / PPM


def _find_held_out(findings: Findings, counts: StoreCounts) -> None:
    usable = counts.holding_out()
    if findings.ratio is None:
        reason = "Every run trained on all examples (ratio 1): none was held out, so there is nothing to compare."
        findings.missing |= dict.fromkeys(("mem", "cscore", "profiles", "influence"), reason)
        return
    ratio_counts = next(ratio for ratio in usable.ratios if ratio.ratio == findings.ratio)
    mem = estimate_memorization(replace(usable, ratios=(ratio_counts,)), empty="nan")
    if mem["mem"].notna().any():
        findings.mem = mem
    else:
        findings.missing["mem"] = "So far no example was held out by some runs and trained on by others."
    findings.cscore = cscore(usable)
    findings.ratios = tuple(ratio.ratio for ratio in usable.ratios)
    values = consistency_profile(usable)["consistency"].to_numpy()
    findings.consistency = values.reshape(len(usable.ratios), -1)
    findings.held_out = np.array([ratio.n_out for ratio in usable.ratios])
    if len(usable.ratios) > 1 and _has_cscores(findings):
        groups = group_examples(findings.store, counts)
        findings.profiles = group_profiles(findings.store, counts, groups, group_runs(findings.store))
    else:
        findings.missing["profiles"] = "A profile needs runs at two ratios under 1 or more."


def _find_influence(findings: Findings, parallel: ParallelMap | None) -> None:
    if not findings.labels.num_test:
        findings.missing["influence"] = "The data set has no test examples."
        return
    if findings.mem is None or findings.ratio is None:
        findings.missing["influence"] = findings.missing["mem"]
        return
    findings.influence = find_influence(findings.store, findings.ratio, parallel)
    if findings.influence.problem:
        findings.missing["influence"] = findings.influence.problem


def _find_vulnerability(findings: Findings) -> None:
    if (
        findings.mem is None
        or findings.ratio is None
        or not {"loss", "margin"} & set(findings.store.header.record.outputs)
    ):
        return
    runs = int((findings.mem["n_in"] + findings.mem["n_out"]).max())
    vulnerability = find_vulnerability(findings.store, findings.ratio, runs, findings.mem)
    if isinstance(vulnerability, str):
        findings.missing["vulnerability"] = vulnerability
    else:
        findings.vulnerability = vulnerability


def _find_learning(findings: Findings, counts: StoreCounts) -> None:
    store = findings.store
    at = recorded_at(store)
    largest = max(ratio.ratio for ratio in counts.ratios if ratio.runs)
    if at is None:
        reason = (
            "The campaign records neither presentations (record.presentations) nor the evaluations of several epochs "
            "(record.epochs)."
        )
        findings.missing |= dict.fromkeys(("learning", "forgetting", "history"), reason)
        return
    findings.forgetting, findings.forgetting_at = estimate_forgetting(store, largest, at), at
    groups = _groups(findings, counts)
    kinds = [kind for kind in recorded_kinds(store) if kind != "heldout" or largest < 1]
    findings.learning = pd.concat([learning_curves(store, groups, kind, largest) for kind in kinds], ignore_index=True)


def _groups(findings: Findings, counts: StoreCounts) -> Groups:
    """By C-score; where there is none, all examples together."""
    if _has_cscores(findings):
        return group_examples(findings.store, counts)
    findings.learning_by = "all"
    return Groups("class", ("all examples",), np.zeros(findings.labels.num_train, dtype=np.int64))


def _has_cscores(findings: Findings) -> bool:
    return findings.cscore is not None and bool(findings.cscore["cscore"].notna().any())


def _find_suspects(findings: Findings) -> None:
    scores = read_example_scores(findings.store, largest_ratio(findings.store))
    if not scores.scores:
        findings.missing["suspects"] = "No score of the examples: all ratios are 1, and presentations are not recorded."
        return
    header = findings.store.header
    if header.num_train * len(header.class_names) > MAX_PREDICTIONS:
        findings.missing["predictions"] = (
            f"{header.num_train:,} examples of {len(header.class_names):,} classes are too many to be counted here: "
            "longtail suspects counts them."
        )
    else:
        findings.predictions = read_predictions(findings.store)
    findings.suspects = rank_suspects(scores, predictions=findings.predictions)
    findings.suspects_by = chosen_score(scores).name
