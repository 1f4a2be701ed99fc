"""The one function that is scheduled: train a shard's runs and commit them to the store."""

import traceback
from dataclasses import dataclass
from typing import Literal

import torch

from workers.campaign import Campaign
from workers.datasets import load_dataset
from workers.device_data import DeviceData, load_on_device
from workers.errors import StoreError
from workers.runs import Shard
from workers.store import Store
from workers.training import Engine, SequentialEngine


@dataclass(frozen=True)
class ShardSummary:
    """A committed shard, as the driver sees it."""

    shard: Shard
    diverged: int


@dataclass(frozen=True)
class ShardError:
    """A shard that could not be trained (`user`: the campaign's code or data) or not be committed (`store`)."""

    shard: Shard
    kind: Literal["user", "store"]
    message: str
    traceback: str


def train_shard(campaign: Campaign, shard: Shard, data: DeviceData, store: Store, engine: Engine) -> ShardSummary:
    """Train the shard's runs and commit them. Raises what the model or the store raises; then nothing is written."""
    results = engine.train(campaign, data, shard.runs)
    store.commit(shard, results)
    return ShardSummary(shard, diverged=sum(result.status == "diverged" for result in results))


class Worker:
    """A process's share of a campaign: the data on its device, the open store, the engine. Loads the data once."""

    def __init__(self, campaign: Campaign, store_uri: str, device: str) -> None:
        """`device` is a torch device, such as `cpu` or `cuda`. Raises StoreError or DataError."""
        self.campaign = campaign
        self.store = Store.open(store_uri)
        self.engine: Engine = SequentialEngine()
        dataset = load_dataset(campaign.dataset, self.store.header.fingerprint)
        self.data = load_on_device(dataset, campaign, self.store.given_labels(), torch.device(device))

    def attempt(self, shard: Shard) -> ShardSummary | ShardError:
        """Train and commit a shard; what goes wrong comes back as text, which reaches a driver whatever was raised."""
        try:
            return train_shard(self.campaign, shard, self.data, self.store, self.engine)
        except StoreError as error:
            return _told(shard, "store", error)
        except Exception as error:  # noqa: BLE001 - the boundary at which user code is reported, with its traceback
            return _told(shard, "user", error)


def _told(shard: Shard, kind: Literal["user", "store"], error: Exception) -> ShardError:
    text = str(error).strip() or type(error).__name__
    message = text if kind == "store" else f"{type(error).__name__}: {text.splitlines()[0]}"
    return ShardError(shard, kind, message, "".join(traceback.format_exception(error)))
