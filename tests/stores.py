"""Store headers and random results, for tests of the store itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa

from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run, Shard
from workers.store import EpochRecord, Header, RunResult, Store

NUM_TRAIN, NUM_TEST = 21, 5


def header(campaign: Campaign | None = None, data: str = "a") -> Header:
    """The header of a campaign on imaginary data, told apart by a hex digit."""
    campaign, fingerprint = campaign or small_campaign(record={"epochs": "all"}), data * 64
    return Header(
        identity=campaign.identity(fingerprint),
        fingerprint=fingerprint,
        dataset="digits",
        num_train=NUM_TRAIN,
        num_test=NUM_TEST,
        class_names=("a", "b"),
        shard_size=2,
        campaign=campaign,
        versions={"python": "3"},
    )


def examples() -> pa.Table:
    """Labels of the imaginary data."""
    ids = [*range(NUM_TRAIN), *range(NUM_TEST)]
    splits = ["train"] * NUM_TRAIN + ["test"] * NUM_TEST
    return pa.table({"split": splits, "example_id": ids, "label": [0] * len(ids), "given_label": [0] * len(ids)})


def new_store(uri: object) -> Store:
    """An empty store."""
    return Store.create(str(uri), header(), examples())


def results(shard: Shard, seed: int = 0, seconds: float = 1.0) -> list[RunResult]:
    """Random results, two recorded epochs a run; equal for equal seeds, but for the time taken."""
    return [_result(run, np.random.default_rng([seed, run.repetition]), seconds) for run in shard.runs]


def _result(run: Run, random: np.random.Generator, seconds: float) -> RunResult:
    def bits(width: int) -> np.ndarray:
        return random.random(width) < 0.5

    subset = bits(NUM_TRAIN)
    epochs = [EpochRecord(epoch, bits(NUM_TRAIN), bits(NUM_TEST), float(random.random())) for epoch in (1, 2)]
    return RunResult(run, subset, epochs, "completed", seconds, "cpu")


@contextmanager
def powerless() -> Iterator[None]:
    """Run without root's right to write everywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
