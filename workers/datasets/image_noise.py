"""Pixel noise of a campaign: which training images get it, and the data set with it.

M. Toneva et al., "An empirical study of example forgetting during deep neural network learning", ICLR 2019, count
forgetting events of CIFAR-10 with Gaussian noise in its pixels. All draws are of raw bits of PCG64, which NumPy
promises not to change.
"""

import hashlib

import numpy as np

from workers.campaign.campaign import Campaign
from workers.common.arrays import AnyArray, Bools
from workers.datasets.cache import Cache, cache_root
from workers.datasets.dataset import Dataset
from workers.datasets.derived import derived_dataset
from workers.subsets.draw import Purpose, whole_campaign_generator


def with_image_noise(dataset: Dataset, campaign: Campaign, noisy: Bools | None) -> Dataset:
    """The data set with the campaign's noise in the pixels of its `noisy` training images, bool[N], through the cache.

    A pixel p becomes p + white sd z, z standard normal; of uint8 images rounded, and cut to 0..white. Itself where the
    campaign has no image noise. Raises DataError where the cache cannot be written, ValueError without `noisy`.
    """
    noise = campaign.image_noise
    if not noise.fraction:
        return dataset
    if noisy is None:
        raise ValueError("image_noise needs the noisy examples")
    pixels = whole_campaign_generator(campaign, Purpose.IMAGE_NOISE, 1).bit_generator

    def changed(images: AnyArray, start: int) -> AnyArray:
        from scipy.special import ndtri  # here: a third of a second to import

        mine = noisy[start : start + len(images)]
        images = images.copy()
        chosen = images[mine].astype(np.float64)
        uniform = ((pixels.random_raw(chosen.size) >> 11) + 0.5) * 2.0**-53
        chosen += dataset.white * noise.sd * ndtri(uniform).reshape(chosen.shape)
        if images.dtype == np.uint8:
            chosen = np.clip(np.rint(chosen), 0, min(dataset.white, 255))
        images[mine] = chosen.astype(images.dtype)
        return images

    which = hashlib.sha256(np.packbits(noisy).tobytes()).hexdigest()
    key = ["image_noise", campaign.subsets.seed, noise.sd, which]
    return derived_dataset(Cache(cache_root()), dataset, key, changed)
