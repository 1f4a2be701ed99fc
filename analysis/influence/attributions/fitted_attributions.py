"""Attributions from a store's own runs: influence, and the weights of datamodels."""

from typing import Literal, get_args

import numpy as np

from analysis.influence.attributions.subset_outputs import MIN_SUBSETS
from analysis.influence.datamodels.linear_fits import FITS, InfluenceFit
from analysis.reading.membership import Membership
from analysis.reading.outputs import RatioOutputs
from workers.common.arrays import Floats
from workers.errors import EstimateError, NoEstimateError

OwnAttribution = Literal["influence", "ridge", "lasso"]


def fit_attribution(source: RatioOutputs, method: OwnAttribution) -> Floats:
    """float64[N, T], fitted to the outputs of one ratio's runs: see `analysis.influence.datamodels.linear_fits`.

    Raises EstimateError for another method, NoEstimateError for fewer than 10 subsets.
    """
    if method not in get_args(OwnAttribution):
        raise EstimateError(f"method must be one of {', '.join(get_args(OwnAttribution))}, got {method!r}")
    source = source.of_subsets()
    if source.runs < MIN_SUBSETS:
        raise NoEstimateError(f"{method} must be fitted to at least {MIN_SUBSETS} subsets, got {source.runs}")
    members = Membership.centred(source.subsets)
    outputs = source.outputs.astype(np.float64)
    if method == "influence":
        return InfluenceFit(members).weights(outputs).T
    fit = FITS[method](members)
    step = fit.outputs_at_once
    blocks = [fit.weights(outputs[:, start : start + step])[0] for start in range(0, outputs.shape[1], step)]
    return np.concatenate(blocks).T


def hold_out(source: RatioOutputs, share: float, seed: int) -> tuple[RatioOutputs, RatioOutputs]:
    """The runs to fit attributions to, and those to score them on: round(share x subsets) subsets, drawn with `seed`.

    Raises EstimateError for a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise EstimateError(f"heldout must be greater than 0, less than 1, got {share!r}")
    groups = np.unique(source.groups)
    held = np.random.default_rng(seed).permutation(groups)[: round(share * len(groups))]
    is_held = np.isin(source.groups, held)
    return source.of_rows(~is_held), source.of_rows(is_held)
