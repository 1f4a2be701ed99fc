"""Means over runs of all measurements of a store's probes."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from analysis.estimators.localization.dropped import dropped_examples
from analysis.estimators.localization.frames import probe_frame
from analysis.estimators.localization.gradients import gradient_frame, gradient_means, gradient_values
from analysis.estimators.localization.over_runs import mean_over_runs
from analysis.estimators.localization.probe_rows import compared_groups, probe_names
from analysis.estimators.localization.units import example_units, units_detection, units_summary
from analysis.reading.selection import select_ratios
from workers.campaign.campaign import PPM
from workers.errors import EstimateError
from workers.store import Store


@dataclass(frozen=True)
class Localization:
    """Means over runs, with standard errors: a frame for each probe that the store has, by the probe's name.

    `gradients` by epoch and layer, `gradient_means` over the epochs by layer; `rewinding` by layer, epoch, rule and
    group; `retraining` by layer, epoch and group; `neurons` by group, with `neurons_detection`; `dropout` by mode and
    group, with the examples that are `dropped`.
    All are of one ratio.
    """

    tables: dict[str, pd.DataFrame]
    runs: dict[float, int]
    """Measured runs by ratio."""
    groups: tuple[str, str]
    """The examples that are compared: clean and noisy, or typical and atypical."""


def localize(store: Store, *, ratio: float | None = None) -> Localization:
    """Summarize a store's probes at one ratio; None stands for the largest with a measured run.

    Raises EstimateError where it has no probes, NoEstimateError without a measured run.
    """
    names = _declared(store)
    ratio = max(measured_ratios(store)) if ratio is None else select_ratios(store, ratio)[0] / PPM
    tables = {
        probe: make(store, ratio)
        for probe, make in _MAKERS.items()
        if any(name == probe or name.startswith(f"{probe}_") for name in names)
    }
    tables |= {name: probe_frame(store, name, ratio=ratio) for name in names if not _is_own(name)}
    if "gradients" in tables:
        tables["gradient_means"] = gradient_means(gradient_frame(store, ratio=ratio))
    if "neurons" in tables:
        tables["neurons_detection"] = _detection(store, ratio)
    if "dropout" in tables:
        tables["dropped"] = dropped_examples(store, ratio=ratio)
    first = probe_frame(store, names[0], ratio=ratio) if not _is_own(names[0]) else _any_frame(store, names[0], ratio)
    pairs = first[["ratio", "run_id"]].drop_duplicates()
    runs = {float(at): int((pairs["ratio"] == at).sum()) for at in pairs["ratio"].unique()}
    return Localization(tables, runs, compared_groups(store))


def measured_ratios(store: Store) -> list[float]:
    """The ratios with a measured run. Raises EstimateError without probes, NoEstimateError without a measured run."""
    first = _declared(store)[0]
    frame = _any_frame(store, first, None) if _is_own(first) else probe_frame(store, first)
    return sorted(float(ratio) for ratio in frame["ratio"].unique())


def _declared(store: Store) -> list[str]:
    names = probe_names(store)
    if not names:
        raise EstimateError(
            f"{store.uri}: has no probes: record.probes of the campaign must declare some "
            "(longtail init mnist-localization writes a campaign that does)"
        )
    return names


def _any_frame(store: Store, name: str, ratio: float | None) -> pd.DataFrame:
    probe = next(probe for probe in _MAKERS if name == probe or name.startswith(f"{probe}_"))
    return gradient_frame(store, ratio=ratio) if probe == "gradients" else probe_frame(store, probe, ratio=ratio)


def _is_own(name: str) -> bool:
    return any(name == probe or name.startswith(f"{probe}_") for probe in _MAKERS)


def _gradients(store: Store, ratio: float | None) -> pd.DataFrame:
    values = gradient_values(compared_groups(store))
    return mean_over_runs(gradient_frame(store, ratio=ratio), ["ratio", "epoch", "layer"], values)


def _accuracies(name: str, *by: str) -> Callable[[Store, float | None], pd.DataFrame]:
    def of_store(store: Store, ratio: float | None) -> pd.DataFrame:
        return mean_over_runs(probe_frame(store, name, ratio=ratio), ["ratio", *by, "group"], ["accuracy"])

    return of_store


def _neurons(store: Store, ratio: float | None) -> pd.DataFrame:
    summary = units_summary(example_units(store, ratio=ratio))
    values = [name for name in summary.columns if name not in ("run_id", "ratio", "repetition", "group")]
    return mean_over_runs(summary, ["ratio", "group"], values)


def _detection(store: Store, ratio: float | None) -> pd.DataFrame:
    _, group = compared_groups(store)
    return mean_over_runs(units_detection(example_units(store, ratio=ratio), group), ["ratio"], ["auc"])


_MAKERS: dict[str, Callable[[Store, float | None], pd.DataFrame]] = {
    "gradients": _gradients,
    "rewinding": _accuracies("rewinding", "layer", "epoch", "rule"),
    "retraining": _accuracies("retraining", "layer", "epoch"),
    "neurons": _neurons,
    "dropout": _accuracies("dropout", "mode"),
}
