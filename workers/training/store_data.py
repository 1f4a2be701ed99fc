"""Loads what a store's runs are trained on: its data set on a device, with the labels and scores that the store has."""

import torch

from workers.campaign.campaign import Campaign
from workers.datasets import Dataset, load_dataset
from workers.datasets.image_noise import with_image_noise
from workers.store import Store
from workers.training.device_data import DeviceData, load_on_device
from workers.training.dtype import check_precision


def load_store_data(
    store: Store, campaign: Campaign, device: torch.device, *, trusted: bool = True
) -> tuple[Dataset, DeviceData]:
    """The campaign's data set, and the same on the device with the store's given labels, scores and split.

    `trusted`: see `load_dataset`. Raises StoreError, DataError; CampaignError where the device cannot train in the
    store's precision.
    """
    check_precision(store.header.precision, device, store.uri)
    dataset = load_dataset(campaign.dataset, store.header.fingerprint, trusted=trusted)
    dataset = with_image_noise(dataset, campaign, store.noisy_images())
    labels, scores = store.given_labels(), store.scores()
    data = load_on_device(dataset, campaign, labels, device, scores=scores)
    return dataset, data.with_split(store.split()).with_curriculum_scores(store.curriculum_scores())
