"""Proxies of the C-score: scores of one training run or none, and their rank correlation with the C-score.

Z. Jiang et al., "Characterizing structural regularities of labeled data in overparameterized models", ICML 2021. Every
proxy is oriented so that high is regular. Its agreement with the C-score is Spearman's correlation r and Kendall's
tau-b over the examples with both, with standard errors and limits on Fisher's scale z = atanh(r):

    Spearman   var z = (1 + r^2 / 2) / (n - 3)
    Kendall    var z = 0.437 / (n - 4)

D. G. Bonett and T. A. Wright, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations",
Psychometrika 2000; E. C. Fieller, H. O. Hartley and E. S. Pearson, "Tests for rank correlation coefficients. I",
Biometrika 1957. The standard error of r itself is (1 - r^2) that of z. These are of the choice of examples, with the
runs as they are; they approximate for correlations up to about 0.95 and 0.8, and many ties make them rougher. Other
runs would change r, too: where scores come with replicates, the variance of z over runs is added, by the jackknife of
`analysis.statistics.jackknife`, and `over` says so; else it says `examples only`.

A C-score of the same campaign is of the same models, looked at where they did not train on an example; proxies at
presentations are of where they did. So no outcome is in both, and still what these models have in common is. A C-score
of other runs, or a published one, shares nothing.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.reading.names import NAMES
from analysis.reading.selection import committed_ratios
from analysis.scoring.agreement import correlation
from analysis.scoring.agreement_errors import correlation_limits, fisher, slope
from analysis.scoring.example_scores import DENSITIES, PRESENTED, StoreScores, largest_ratio, read_example_scores
from analysis.scoring.scores import Scores, Source, check_same_examples, read_scores
from analysis.statistics.intervals import CONFIDENCE, check_confidence
from analysis.statistics.jackknife import EXAMPLES_ONLY, error_of
from workers.campaign.campaign import PPM
from workers.common.arrays import Bools, Floats
from workers.errors import EstimateError
from workers.store import Store
from workers.store.example_schema import SEEN_BY_ENCODER

KEYS = ("example_id", "label", "given_label")
AGREEMENT_COLUMNS = (
    *("proxy", "examples", "left_out"),
    *(f"{name}{part}" for name in ("spearman", "kendall") for part in ("", "_se", "_se_runs", "_low", "_high")),
    "over",
)


@dataclass(frozen=True)
class ProxyReplicates:
    """Scores without each group of runs, float[g, N]: proxies by name (None: they rest on no groups), and the C-score.

    `same_runs`: both are of one campaign, and lack the same group in each row. `cscore` is None where its runs are not
    known.
    """

    proxies: Mapping[str, npt.NDArray[np.floating] | None]
    cscore: npt.NDArray[np.floating] | None
    same_runs: bool

    def pairs(self, name: str, proxy: Floats, cscore: Floats) -> list[list[tuple[Floats, Floats]]] | None:
        """The sets of replicates whose variances add up, each a list of (proxy, C-score); None: runs are not known."""
        ours, theirs = self.proxies.get(name), self.cscore
        if theirs is None:
            return None
        if ours is None:
            return [[(proxy, each) for each in theirs]]
        if self.same_runs:
            return [list(zip(ours, theirs, strict=len(ours) == len(theirs)))]
        return [[(each, cscore) for each in ours], [(proxy, each) for each in theirs]]


def collect_proxies(store: Store, ratio: float | None = None) -> pd.DataFrame:
    """One row per example: example_id, label, given_label, and every proxy that the store allows, high being regular.

    accuracy, aum, probability, max_probability, second_split, and negative_variability, negative_loss, negative_el2n,
    negative_forgettability, negative_learning_epoch at one ratio (None: the largest with a run that did not diverge),
    where the campaign records what they need; the densities where
    `longtail density` wrote them. See `analysis.scoring.example_scores`. Raises EstimateError where there is none,
    and as `read_example_scores`.
    """
    return proxies_frame(read_example_scores(store, largest_ratio(store, ratio)))


def proxies_frame(store_scores: StoreScores) -> pd.DataFrame:
    """The proxies among a store's scores of one ratio. Raises EstimateError where there is none."""
    proxies = {
        score.regular_name: score.regularity for score in store_scores.scores if score.name in (*PRESENTED, *DENSITIES)
    }
    if not proxies:
        raise EstimateError(
            f"{store_scores.source}: has no proxies: record.presentations or record.training_statistics must be true, "
            "or longtail density called first"
        )
    return store_scores.labels.columns().assign(**proxies)


def store_proxy_agreement(
    store_scores: StoreScores, reference: Scores, *, confidence: float = CONFIDENCE
) -> pd.DataFrame:
    """As `proxy_agreement`, of a store's scores at one ratio, read with replicates, and a reference read with them.

    A reference of the store itself shares its runs: a group is then left out of both at once. Of other runs, each has
    a part of the error. Densities do not rest on groups of runs: theirs is the reference's part. A file of scores
    tells nothing of its runs.
    """
    proxies = {score.regular_name: score for score in store_scores.scores if score.name in (*PRESENTED, *DENSITIES)}
    # Turned as `regularity` is.
    replicates = {
        name: None if score.irregular_replicates is None else -score.irregular_replicates
        for name, score in proxies.items()
    }
    runs = ProxyReplicates(replicates, reference.replicates, reference.source == store_scores.source)
    return proxy_agreement(proxies_frame(store_scores), reference.values, confidence=confidence, runs=runs)


def reference_cscore(store: Store, other: Source | None = None, *, replicates: bool = False) -> Scores:
    """The C-score of the store's own runs (None), or of another store or file of scores, of the same examples.

    With `replicates`, also without each group of runs.

    Raises EstimateError where the store holds nothing out, where the other is of other examples, and as `read_scores`.
    """
    if other is None:
        if not any(ratio_ppm < PPM for ratio_ppm in committed_ratios(store)):
            raise EstimateError(
                f"{store.uri}: has no C-score, at ratio 1 no example is held out: another store or file must be given"
            )
        return read_scores(store, "cscore", replicates=replicates)
    theirs = read_scores(other, "cscore", replicates=replicates)
    check_same_examples(store, theirs)
    return theirs


def proxy_agreement(
    proxies: pd.DataFrame, cscore: Floats, *, confidence: float = CONFIDENCE, runs: ProxyReplicates | None = None
) -> pd.DataFrame:
    """One row per proxy, with AGREEMENT_COLUMNS, over the `examples` with a proxy and a C-score; `left_out` lack one.

    `proxies` as `collect_proxies` or a view gives them, `cscore` float64[N]. A correlation is NaN where one side does
    not vary; standard errors and limits need more than 3 (Spearman) and 4 (Kendall) examples, and a correlation
    between -1 and 1, which lie at infinity on Fisher's scale. `over` says what they include: without `runs`, or with
    fewer than two groups of them, examples only. `_se_runs` is the runs' part. Raises
    EstimateError for a bad `confidence`.
    """
    check_confidence(confidence)
    names = [name for name in proxies if name not in (*KEYS, *NAMES, SEEN_BY_ENCODER)]
    rows = []
    for name in names:
        proxy = proxies[name].to_numpy()
        pairs = None if runs is None else runs.pairs(str(name), proxy, cscore)
        rows.append({"proxy": name, **_agreement(proxy, cscore, confidence, pairs)})
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def _agreement(
    proxy: Floats, cscore: Floats, confidence: float, sets: list[list[tuple[Floats, Floats]]] | None
) -> dict[str, object]:
    from scipy import stats

    both = np.isfinite(proxy) & np.isfinite(cscore)
    count = int(both.sum())
    row: dict[str, object] = {"examples": count, "left_out": len(both) - count, "over": EXAMPLES_ONLY}
    for name, coefficient in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
        r = correlation(coefficient, proxy[both], cscore[both])
        variance = spearman_variance(r, count) if name == "spearman" else _kendall_variance(count)
        replicates = None if sets is None else [_replicated(coefficient, pairs, both) for pairs in sets]
        error = error_of(math.sqrt(variance), *(replicates or ()))
        low, high = correlation_limits(r, error.reach(confidence))
        scale = slope(r)
        row |= {name: r, f"{name}_se": scale * error.se, f"{name}_low": low, f"{name}_high": high}
        row[f"{name}_se_runs"] = math.nan if error.runs is None else scale * error.runs
        if error.runs is not None:
            row["over"] = error.over
    return row


def _replicated(coefficient: Callable[..., Any], pairs: list[tuple[Floats, Floats]], both: Bools) -> Floats:
    """z of each pair of scores, over the examples of the estimate that still have both: float64[g]."""
    replicates = []
    for proxy, cscore in pairs:
        some = both & np.isfinite(proxy) & np.isfinite(cscore)
        r = correlation(coefficient, proxy[some].astype(np.float64), cscore[some].astype(np.float64))
        replicates.append(fisher(r))
    return np.array(replicates)


def spearman_variance(r: float, count: int) -> float:
    """Of atanh(r) over `count` examples; NaN for three or fewer."""
    return (1 + r**2 / 2) / (count - 3) if count > 3 else math.nan


def _kendall_variance(count: int) -> float:
    return 0.437 / (count - 4) if count > 4 else math.nan
