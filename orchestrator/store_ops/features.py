"""Features of every example by a committed run's model, for campaigns that train its last layer alone."""

import os

from orchestrator.runners.local import available_device
from workers.campaign.keys import Run
from workers.common.progress import ProgressCallback, no_progress
from workers.datasets.run_features import RunFeatures
from workers.store import Store
from workers.training.feature_extraction import extract_features


def features(
    store: str | os.PathLike[str] | Store,
    run: str | Run,
    *,
    device: str | None = None,
    accept_differences: bool = False,
    trust_code: bool = False,
    on_epoch: ProgressCallback = no_progress,
) -> RunFeatures:
    """Train a run of a store again, as `replay`, and compute its penultimate-layer features of every example.

    `write_features` writes them for campaigns with `dataset: {name: features, file: ...}`. Arguments are those of
    `replay`. Raises as `replay`; ModelError where the model has no last linear layer with one vector for each example
    into it; LongtailError where a feature is not finite.
    """
    opened = store if isinstance(store, Store) else Store.open(store)
    return extract_features(
        opened,
        Run.parse(run) if isinstance(run, str) else run,
        available_device(device),
        on_epoch=on_epoch,
        trust_code=trust_code,
        accept_differences=accept_differences,
    )
