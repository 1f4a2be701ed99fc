"""Pixel noise of a campaign, and permuted pixels: against slow references, through the cache, and in a store."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import kstest, norm

from analysis import EstimateError, group_examples, open_store
from analysis.reading.counts import count_runs
from analysis.reading.examples import read_labels
from analysis.scoring.noise import noisy_examples
from orchestrator import run_campaign
from orchestrator.store_ops.verify import verify_store
from tests.conftest import small_campaign
from tests.datasets.support import error_of, make_dataset
from workers.campaign.campaign import Campaign
from workers.campaign.dataset_spec import Digits
from workers.campaign.yaml_io import check_campaign
from workers.datasets import Dataset, load_dataset
from workers.datasets.cache import Cache
from workers.datasets.image_noise import with_image_noise
from workers.datasets.permuted_pixels import pixel_order, with_permuted_pixels
from workers.errors import CampaignError, DamagedFileError
from workers.store import Store
from workers.subsets.draw import noisy_images

N = 1437
STORES = ("noisy", "plain")


def noisy_campaign(fraction: float = 0.2, sd: float = 0.5, **changes: object) -> Campaign:
    return small_campaign(image_noise={"fraction": fraction, "sd": sd}, **changes)


def test_noise_is_gaussian_and_in_the_chosen_images_alone() -> None:
    """Of float features, so that nothing is rounded or cut; several blocks of the cache's writer."""
    images = np.linspace(0, 1, 40 * 200_000, dtype=np.float32).reshape(40, 1, 200, 1000)
    plain = make_dataset(
        train_images=images, train_labels=np.zeros(40, int), test_images=images[:1], test_labels=np.zeros(1, int)
    )
    campaign = noisy_campaign(fraction=0.25, sd=0.2)
    noisy = noisy_images(campaign, 40)
    assert noisy.sum() == 10
    changed = with_image_noise(plain, campaign, noisy)
    assert np.array_equal(changed.train_images[~noisy], images[~noisy])
    assert np.array_equal(changed.test_images, plain.test_images)
    noise = (np.asarray(changed.train_images[noisy], np.float64) - images[noisy]) / 0.2
    assert abs(noise.mean()) < 0.005
    assert abs(np.corrcoef(noise[0].ravel(), noise[-1].ravel())[0, 1]) < 0.01
    assert kstest(noise.ravel()[::40], norm.cdf).pvalue > 1e-4


def test_pixels_are_rounded_cut_and_the_same_in_every_process(digits: Dataset) -> None:
    campaign = noisy_campaign(sd=2.0)
    noisy = noisy_images(campaign, N)
    first = with_image_noise(digits, campaign, noisy)
    pixels = np.asarray(first.train_images[noisy])
    assert pixels.dtype == np.uint8
    assert pixels.max() == digits.white == 16
    assert 0.3 < (pixels == 0).mean() < 0.7
    assert first.fingerprint == with_image_noise(digits, campaign, noisy).fingerprint
    assert first.fingerprint.startswith("1d89ed1b006b178d")  # on every machine, for any number of workers
    others = [noisy_campaign(sd=1.0), noisy_campaign(sd=2.0, subsets={"ratios": [0.7], "repetitions": 2, "seed": 9})]
    assert len({first.fingerprint, *(with_image_noise(digits, each, noisy).fingerprint for each in others)}) == 3
    assert with_image_noise(digits, small_campaign(), None) is digits


def test_a_store_tells_which_images_are_noisy(tmp_path: Path) -> None:
    campaign = noisy_campaign(record={"presentations": True}, subsets={"ratios": [0.7], "repetitions": 4})
    run_campaign(campaign, tmp_path / "noisy")
    run_campaign(small_campaign(subsets={"ratios": [0.7], "repetitions": 4}), tmp_path / "plain")
    store, plain = Store.open(tmp_path / "noisy"), Store.open(tmp_path / "plain")
    assert store.header.fingerprint == plain.header.fingerprint
    assert store.header.identity != plain.header.identity
    noisy = noisy_images(campaign, N)
    stored = store.noisy_images()
    assert stored is not None
    assert np.array_equal(stored, noisy)
    assert np.array_equal(noisy_examples(read_labels(store), "store"), noisy)
    groups = group_examples(store, count_runs(store), "noise")
    assert groups.names == ("clean", "noisy")
    assert np.array_equal(groups.members(1), noisy)
    found = open_store(tmp_path / "noisy").noise()
    assert (found["noisy"] + found["left_out"] >= noisy.sum()).all()
    assert plain.noisy_images() is None
    with pytest.raises(EstimateError, match="image_noise no fraction"):
        open_store(tmp_path / "plain").noise()
    # Models are trained and evaluated on the noisy pixels.
    right = {name: open_store(tmp_path / name).correctness("train").to_numpy()[:, noisy].mean() for name in STORES}
    assert right["noisy"] < right["plain"]
    # A column that was changed is found out.
    path = tmp_path / "noisy" / "examples.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("noisy_image")
    turned = [None if each is None else not each for each in table["noisy_image"].to_pylist()]
    pq.write_table(table.set_column(place, table.field(place), [turned]), path, write_page_checksum=True)
    with pytest.raises(DamagedFileError, match="column noisy_image: does not contain the values of the campaign"):
        store.noisy_images()
    _, problems = verify_store(store.uri)
    assert any("column noisy_image" in str(problem) for problem in problems)


def test_mistakes_in_noise_are_named() -> None:
    document = noisy_campaign().model_dump(mode="json")
    for given in ({"fraction": 0.1}, {"sd": 0.1}):
        with pytest.raises(CampaignError, match="image_noise: fraction and sd must both be greater than 0"):
            check_campaign({**document, "image_noise": given})
    assert "image_noise" not in small_campaign()._science(defaults=False)


def test_permuted_pixels_are_one_permutation_of_all_images(cache: Path, digits: Dataset) -> None:
    order = pixel_order(7, 64)
    assert sorted(order.tolist()) == list(range(64))
    assert order[:8].tolist() == [37, 6, 32, 24, 23, 52, 46, 55]  # for good
    permuted = load_dataset(Digits(permute_pixels=7))
    for name in ("train_images", "test_images"):
        before, after = getattr(digits, name), getattr(permuted, name)
        for image, other in list(zip(before, after, strict=True))[:50]:
            for place, pixel in enumerate(order):
                assert other[0, place // 8, place % 8] == image[0, pixel // 8, pixel % 8]
    assert np.array_equal(permuted.train_labels, digits.train_labels)
    assert permuted.class_names == digits.class_names
    assert len({digits.fingerprint, permuted.fingerprint, load_dataset(Digits(permute_pixels=8)).fingerprint}) == 3
    assert load_dataset(Digits(permute_pixels=7), permuted.fingerprint).fingerprint == permuted.fingerprint
    colour = with_permuted_pixels(Cache(cache), make_dataset(), 1).train_images.reshape(4, 3, 4)
    assert np.array_equal(colour, make_dataset().train_images.reshape(4, 3, 4)[:, :, pixel_order(1, 4)])
    features = make_dataset(train_images=np.zeros((4, 5), np.float32), test_images=np.zeros((2, 5), np.float32))
    refused = error_of(lambda: with_permuted_pixels(Cache(cache), features, 1))
    assert "needs images [C, H, W], the data set has [5]" in refused


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset(Digits())
