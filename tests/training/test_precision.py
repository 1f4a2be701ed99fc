"""Precision: what a store keeps, what other machines may do with it, and torch's settings meanwhile."""

from pathlib import Path
from typing import get_args

import pytest
import torch

from orchestrator import run_campaign
from orchestrator.campaigns.plan import plan_campaign
from orchestrator.cli.commands.plans import cost_of_float32
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.errors import StoreError, StoreMismatchError
from workers.store import Store
from workers.training.determinism import deterministic, deterministic_products
from workers.training.dtype import Precision
from workers.training.hardware import Machine
from workers.training.product_times import product_times
from workers.training.shard import Worker

CPU = torch.device("cpu")
GPU = Machine("cuda", bfloat16=True, memory=2**36, tf32=True)


def campaign_of(precision: str | None) -> Campaign:
    recipe: dict[str, object] = {"epochs": 1, "batch_size": 256}
    return small_campaign(
        recipe=recipe | ({} if precision is None else {"precision": precision}),
        subsets={"ratios": [0.2], "repetitions": 1, "seed": 5},
    )


def store_in(precision: Precision, campaign: Campaign, folder: Path) -> Path:
    """The campaign's store, as a machine that decided so would have made it."""
    run_campaign(campaign, folder / "cpu")
    header = Store.open(folder / "cpu").header.model_copy(update={"precision": precision})
    (folder / "cpu" / "campaign.json").write_bytes(header.to_json())
    return folder / "cpu"


@pytest.mark.slow
def test_a_store_keeps_its_precision_on_any_machine(tmp_path: Path) -> None:
    """Of a campaign that leaves it out, which a GPU decided; one that requests float32 is refused."""
    store = store_in("bfloat16", campaign_of(None), tmp_path)
    run_campaign(campaign_of(None), store, repetitions=2)
    assert Store.open(store).header.precision == "bfloat16"
    assert plan_campaign(campaign_of(None), GPU, str(store)).execution_plan.precision == "bfloat16"
    for act in (
        lambda: run_campaign(campaign_of("float32"), store),
        lambda: plan_campaign(campaign_of("float32"), GPU, str(store)),
    ):
        with pytest.raises(
            StoreMismatchError, match="recipe.precision: the store has 'bfloat16', the campaign has 'float32'"
        ):
            act()


@pytest.mark.slow
def test_tf32_is_not_replaced_unasked(tmp_path: Path) -> None:
    """A new store on a machine without it is in float32; a store in tf32 is not continued there."""
    campaign = campaign_of("tf32")
    store = store_in("tf32", campaign, tmp_path)
    with pytest.raises(StoreError, match="its models train in tf32, which the CPU does not have"):
        Worker(campaign, str(store), "cpu")
    with pytest.raises(StoreError, match="tf32"):
        run_campaign(campaign, store, repetitions=2)
    run_campaign(campaign, tmp_path / "new")
    assert Store.open(tmp_path / "new").header.precision == "float32"


def test_products_are_in_tf32_only_where_requested() -> None:
    """And on a GPU alone: oneDNN has reduced products for CPUs under the same setting."""

    def settings() -> tuple[bool, str]:
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()

    before = settings()
    for tf32, expected in ((True, (True, "high")), (False, (False, "highest"))):
        with deterministic_products(tf32=tf32):
            assert settings() == expected
    for precision in get_args(Precision):
        with deterministic(CPU, precision):
            assert settings() == (False, "highest")
    assert settings() == before


def test_products_are_timed_in_every_precision_of_the_device() -> None:
    times = product_times(CPU, side=32)
    assert list(times) == ["float32", "bfloat16"]
    assert all(seconds > 0 for seconds in times.values())


def test_plan_tells_what_float32_costs() -> None:
    assert cost_of_float32({"float32": 3e-3, "tf32": 1e-3, "bfloat16": 4e-4}) == (
        "float32 is exact: on this GPU matrix products take 3.0 times as long as in tf32 and 7.5 times as long as in "
        "bfloat16 (recipe.precision)"
    )
