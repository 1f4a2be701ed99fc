"""Privacy audit of a store: attacks on every run, their ROC, and how vulnerable each example is, beside its mem.

ROC curves pool the scores of all targets and examples: an attacker sets one threshold for all of them. Positive are
pairs of a target and an example that it trained on, negative those of a target and a training example that it did not.
Standard errors are over runs, by the jackknife of `analysis.statistics.jackknife`: each group of runs leaves as targets
and as shadow models at once, since targets share shadow models. Limits are Wilson's at the effective number of runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import pandas as pd

from analysis.estimators.memorization import estimate_memorization
from analysis.reading.run_groups import number_of_groups
from analysis.reading.run_outputs import RunOutputs, read_run_outputs
from analysis.reading.subset_groups import check_own_subsets
from analysis.scoring.privacy.attacks import AttackOptions, attack_scores, attackable
from analysis.scoring.privacy.lira import ENOUGH_SHADOWS, Variance
from analysis.scoring.privacy.rmia import OFFLINE_A
from analysis.scoring.privacy.vulnerability import VULNERABILITY_COLUMNS, example_separation, vulnerability
from analysis.scoring.proxies import AGREEMENT_COLUMNS, ProxyReplicates, proxy_agreement
from analysis.statistics.intervals import CONFIDENCE, check_confidence, mean_interval
from analysis.statistics.jackknife import error_of, share_limits
from analysis.statistics.means import mean_difference
from analysis.statistics.roc import RocCurve
from workers.common.arrays import Bools, Floats
from workers.common.progress import ProgressCallback, no_progress
from workers.errors import EstimateError, NoEstimateError
from workers.store import Store

FALSE_RATES = (0.001, 0.0001)
"""False-positive rates at which true-positive rates are measured."""
MEASURES = ("auc", "balanced_accuracy", *(f"tpr_{rate:g}" for rate in FALSE_RATES))
ATTACK_COLUMNS = (
    *("attack", "ratio", "targets", "members", "non_members"),
    *(f"{measure}{part}" for measure in MEASURES for part in ("", "_se", "_low", "_high")),
)
CURVE_COLUMNS = ("attack", "threshold", "false_positive_rate", "recall")
EXAMPLE_COLUMNS = (
    *("example_id", "label", "given_label", "ratio", *VULNERABILITY_COLUMNS[:6]),
    *("detected", "detected_low", "detected_high", *VULNERABILITY_COLUMNS[6:], "mem", "mem_se"),
)

VarianceOption = Literal["auto", "example", "pooled"]


@dataclass(frozen=True)
class AuditOptions:
    """`variance` of LiRA: of each `example`, or `pooled` over all; `auto`: of each from 64 shadow models on.

    `offline_a` is RMIA's a, from 0 to 1. `confidence` is the level of all limits.
    """

    variance: VarianceOption = "auto"
    offline_a: float = OFFLINE_A
    confidence: float = CONFIDENCE

    def check(self) -> None:
        """Raise EstimateError for an invalid option."""
        check_confidence(self.confidence)
        if self.variance not in get_args(VarianceOption):
            raise EstimateError(f"variance must be one of {', '.join(get_args(VarianceOption))}, got {self.variance!r}")
        if not 0 <= self.offline_a <= 1:
            raise EstimateError(f"offline_a must be from 0 to 1, got {self.offline_a!r}")


@dataclass(frozen=True)
class Audit:
    """What attacks on the runs of one ratio find.

    `attacks` has one row per attack, with ATTACK_COLUMNS: `tpr_0.001` is the true-positive rate at a false-positive
    rate of 0.1%; NaN where that cannot be set (`RocCurve.threshold_at`). `members` and `non_members` are pairs of a
    target and an example; pairs with fewer than two shadow models in or out are `left_out`. `balanced_accuracy` is that
    of the best threshold. `examples` has one row per training example, with EXAMPLE_COLUMNS: see
    `analysis.scoring.privacy.vulnerability`. `curves` are points of each ROC curve, with CURVE_COLUMNS. `agreement` are
    rank correlations with mem, as `analysis.scoring.proxies.proxy_agreement`; `spearman_disjoint` is that of
    vulnerability and mem from disjoint halves of the runs, which share no noise; the mean of both ways round.
    `outputs` are the runs.
    """

    outputs: RunOutputs = field(repr=False)
    variance: Variance
    left_out: int
    attacks: pd.DataFrame
    examples: pd.DataFrame
    curves: pd.DataFrame
    agreement: pd.DataFrame
    spearman_disjoint: float


@dataclass(frozen=True)
class _Attacked:
    """Attacks on some runs: MEASURES by attack, each ROC curve's points, and how often each example is detected."""

    measures: Mapping[str, Floats]
    curves: pd.DataFrame
    detected: Floats


def audit_store(
    store: Store,
    ratio: float | None = None,
    epoch: int | None = None,
    options: AuditOptions = AuditOptions(),
    progress: ProgressCallback = no_progress,
) -> Audit:
    """Attack each run of one ratio (None: see `select_ratio`) with all others. Holds about 25 bytes x runs x N.

    `progress` counts rounds of attacks: one, and one without each group of runs. Raises as `read_run_outputs`, and
    EstimateError for an invalid option, NoEstimateError where no example has two shadow models in and out.
    """
    options.check()
    check_own_subsets(store, "a privacy audit")
    return audit(read_run_outputs(store, ratio, epoch), number_of_groups(store), options, progress)


def audit(outputs: RunOutputs, groups: int, options: AuditOptions, progress: ProgressCallback = no_progress) -> Audit:
    """As `audit_store`, of runs that were read; run k is in group `repetition` modulo `groups`."""
    variance: Variance = "example" if outputs.runs > ENOUGH_SHADOWS else "pooled"
    chosen = AttackOptions(variance if options.variance == "auto" else options.variance, options.offline_a)
    known = attackable(outputs.members)
    if not known.any():
        raise NoEstimateError(
            f"ratio {outputs.ratio:g}, {outputs.runs} runs: no example has two other runs that trained on it and two "
            "that did not: more repetitions are needed"
        )
    without = list(_without_each(outputs, groups))
    rounds = len(without) + 1
    whole = _attack(outputs, chosen)
    examples = vulnerability(outputs, options.confidence)
    progress(1, rounds)
    replicates, measured = [], []
    for done, some in enumerate(without, start=2):
        measured.append(_attack(some, chosen).measures)
        replicates.append(_scores(some))
        progress(done, rounds)
    frame = _examples(outputs, examples, whole.detected, options.confidence)
    return Audit(
        outputs=outputs,
        variance=chosen.variance,
        left_out=int((~known).sum()),
        attacks=_attacks(outputs, known, whole.measures, measured, options.confidence),
        examples=frame,
        curves=whole.curves,
        agreement=_agreement(frame, replicates, options.confidence),
        spearman_disjoint=_disjoint(outputs, groups),
    )


def _without_each(outputs: RunOutputs, groups: int) -> list[RunOutputs]:
    """Without each group that has runs; none where there is only one."""
    of_run = outputs.repetitions % groups
    filled = np.unique(of_run)
    return [outputs.some(of_run != group) for group in filled] if len(filled) > 1 else []


def _attack(outputs: RunOutputs, options: AttackOptions) -> _Attacked:
    known = attackable(outputs.members)
    members = outputs.members[known]
    measures, points = {}, []
    detected = np.full(outputs.members.shape[1], np.nan)
    for name, scores in attack_scores(outputs, options):
        if not np.isfinite(scores[known]).all():  # no test examples to compare with
            measures[name] = np.full(len(MEASURES), np.nan)
            continue
        curve = RocCurve.of(scores[known], members)
        thresholds = [curve.threshold_at(rate) for rate in FALSE_RATES]
        rates = [curve.true_rate(threshold) for threshold in thresholds]
        measures[name] = np.array([curve.area, curve.balanced_accuracy, *rates])
        if len(curve.positives) and len(curve.negatives):
            points.append(pd.DataFrame(curve.points()).assign(attack=name))
        if name == "lira_online":
            found = (known & outputs.members & (scores >= thresholds[0])).sum(axis=0)
            attacked = (known & outputs.members).sum(axis=0)
            share = np.where(attacked > 0, found, np.nan) / np.maximum(attacked, 1)
            detected = np.full_like(detected, np.nan) if np.isnan(thresholds[0]) else share
    curves = pd.concat(points, ignore_index=True) if points else pd.DataFrame(columns=list(CURVE_COLUMNS))
    return _Attacked(measures, curves[list(CURVE_COLUMNS)], detected)


def _attacks(
    outputs: RunOutputs,
    known: Bools,
    whole: Mapping[str, Floats],
    without: list[Mapping[str, Floats]],
    confidence: float,
) -> pd.DataFrame:
    targets = int(known.any(axis=1).sum())
    members = int((known & outputs.members).sum())
    rows = []
    for name, values in whole.items():
        replicates = np.array([each[name] for each in without]).reshape(len(without), len(MEASURES))
        row: dict[str, object] = {"attack": name, "ratio": outputs.ratio, "targets": targets, "members": members}
        row["non_members"] = int(known.sum()) - members
        for measure, value, of_measure in zip(MEASURES, values, replicates.T, strict=True):
            se, low, high = _limits(float(value), of_measure, targets, confidence)
            row |= {measure: value, f"{measure}_se": se, f"{measure}_low": low, f"{measure}_high": high}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(ATTACK_COLUMNS))


def _limits(value: float, replicates: Floats, targets: int, confidence: float) -> tuple[float, float, float]:
    """Standard error and limits of a share from its replicates; NaN where two of them have none."""
    error = error_of(0.0, replicates[np.isfinite(replicates)])
    if error.runs is None or not np.isfinite(value):
        return np.nan, np.nan, np.nan
    return error.se, *share_limits(value, error, targets, confidence)


def _examples(outputs: RunOutputs, found: pd.DataFrame, detected: Floats, confidence: float) -> pd.DataFrame:
    mem = estimate_memorization(outputs.counts(), empty="nan")
    attacked = (attackable(outputs.members) & outputs.members).sum(axis=0)
    low, high = mean_interval(np.nan_to_num(detected), attacked, confidence)
    known = np.isfinite(detected)
    frame = outputs.labels.columns().assign(
        ratio=outputs.ratio,
        **{name: found[name] for name in VULNERABILITY_COLUMNS},
        detected=detected,
        detected_low=np.where(known, low, np.nan),
        detected_high=np.where(known, high, np.nan),
        mem=mem["mem"],
        mem_se=mem["se"],
    )
    return frame[list(EXAMPLE_COLUMNS)]


@dataclass(frozen=True)
class _ExampleScores:
    """float64[N] each, of some runs."""

    vulnerability: Floats
    d_prime: Floats
    mem: Floats


def _scores(outputs: RunOutputs) -> _ExampleScores:
    found, (counts,) = example_separation(outputs), outputs.counts().ratios
    mem = mean_difference(counts.correct_in, counts.n_in, counts.correct_out, counts.n_out, "nan")
    return _ExampleScores(found["vulnerability"], found["d_prime"], mem)


def _agreement(frame: pd.DataFrame, without: list[_ExampleScores], confidence: float) -> pd.DataFrame:
    names = ("vulnerability", "d_prime")
    runs = None
    if without:
        replicates = {name: np.array([getattr(each, name) for each in without]) for name in names}
        runs = ProxyReplicates(replicates, np.array([each.mem for each in without]), same_runs=True)
    scores, mem = frame[list(names)], frame["mem"].to_numpy(dtype=np.float64)
    table = proxy_agreement(scores, mem, confidence=confidence, runs=runs)
    return table[list(AGREEMENT_COLUMNS)].rename(columns={"proxy": "score"})


def _disjoint(outputs: RunOutputs, groups: int) -> float:
    """Spearman's correlation of vulnerability from one half of the groups with mem from the other, both ways round."""
    even = outputs.repetitions % groups % 2 == 0
    if even.all() or not even.any():
        return float("nan")
    a, b = _scores(outputs.some(even)), _scores(outputs.some(~even))
    pairs = ((a.vulnerability, b.mem), (b.vulnerability, a.mem))
    found = [
        proxy_agreement(pd.DataFrame({"vulnerability": ours}), theirs)["spearman"].iloc[0] for ours, theirs in pairs
    ]
    return float(np.mean(found))
