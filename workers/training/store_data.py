"""What a store's runs are trained on: its campaign, and its data on a device with the store's labels and scores."""

import torch

from workers.campaign.campaign import Campaign
from workers.campaign.model_spec import CustomModel
from workers.datasets import Dataset, load_dataset
from workers.datasets.image_noise import with_image_noise
from workers.errors import EstimateError, ModelError
from workers.store import Store
from workers.training.device_data import DeviceData, load_on_device
from workers.training.dtype import check_precision
from workers.user_code.loading import refuse_call


def trainable_campaign(store: Store, *, trusted: bool) -> Campaign:
    """The campaign of a store whose runs can be trained again.

    Raises EstimateError for imported runs; ModelError for a model function of the user's, unless `trusted`.
    """
    campaign = store.header.campaign
    if not isinstance(campaign, Campaign):
        raise EstimateError(f"{store.uri}: has no data and no model, its runs were imported ({campaign.experiment})")
    if isinstance(campaign.model, CustomModel) and not trusted:
        refuse_call(campaign.model.name, ModelError)
    return campaign


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
    data = data.with_split(store.split()).with_curriculum_scores(store.curriculum_scores())
    return dataset, data.with_masks(store.masks())
