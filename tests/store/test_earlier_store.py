"""A store and a campaign file made before the packages had their present layout open, resume, and have the same bits.

They were made by `longtail run earlier_campaign.yaml --shard-size 1` on an x86-64 CPU with AVX2.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import longtail
from tests.campaigns.test_run import contents
from workers.store import Store

DATA = Path(__file__).parents[1] / "data"
MADE_WITH = "AVX2"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    return shutil.copytree(DATA / "earlier_store", tmp_path / "earlier")


@pytest.mark.slow
def test_an_earlier_store_resumes_as_if_it_were_made_now(earlier: Path, tmp_path: Path) -> None:
    campaign = longtail.read_campaign(DATA / "earlier_campaign.yaml")
    made = contents(earlier)
    report = longtail.run_campaign(campaign, earlier, repetitions=3)
    assert (report.progress.trained, report.progress.committed, report.complete) == (2, 6, True)
    assert contents(earlier).items() >= made.items()
    longtail.run_campaign(campaign, tmp_path / "now", repetitions=3, shard_size=1)
    stores = [longtail.open_store(earlier), longtail.open_store(tmp_path / "now")]
    assert Store.open(str(earlier)).header.identity == Store.open(str(tmp_path / "now")).header.identity
    for ratio in (0.5, 0.7):
        drawn, now = (store.subsets(ratio=ratio).to_numpy() for store in stores)
        np.testing.assert_array_equal(drawn, now)
    if Store.open(str(earlier)).header.versions["torch"] != torch.__version__.partition("+")[0]:
        pytest.skip("the earlier store was trained with another PyTorch")
    if torch.backends.cpu.get_cpu_capability() != MADE_WITH:
        pytest.skip(f"the earlier store was trained with {MADE_WITH}")
    assert contents(earlier) == contents(tmp_path / "now")


def test_every_estimate_of_an_earlier_store(earlier: Path) -> None:
    longtail.open_store(earlier).memorization(ratio=0.7)
    written = longtail.write_estimates(Store.open(str(earlier)))
    assert {path.name for path in (earlier / "estimates").iterdir()} >= {"memorization.parquet", "cscore.parquet"}, (
        written
    )
