"""Memory that runs out: smaller stacks, down to one model, then an error that says what to change."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator import run_campaign
from orchestrator.campaigns.preflight import CampaignTables, campaign_examples, make_header
from tests.conftest import small_campaign
from tests.training.test_engines import on_device, told
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run, Shard
from workers.datasets import load_dataset
from workers.models.stacking import StackedModel
from workers.store import Store
from workers.training import StackedEngine, run_timing
from workers.training.device_data import DeviceData
from workers.training.loop import Trainer
from workers.training.out_of_memory import is_out_of_memory
from workers.training.run_timing import time_runs
from workers.training.shard import ShardError, ShardSummary, Worker
from workers.training.stack_calibration import fastest_stack
from workers.training.stacked import _Trainer as ResumableStack

BATCH = 64
MLP: dict[str, object] = {"name": "mlp", "hidden": [8]}
SHARD = Shard(200_000, 0, 5)


def scarce_campaign(rows: int) -> Campaign:
    """Of a user's model that has memory for `rows` examples, of all models of a stack together."""
    return campaign_of({"name": "user_code:scarce_model", "options": {"rows": rows}})


def campaign_of(model: dict[str, object]) -> Campaign:
    """Five runs in one stack of 64 examples a model."""
    return small_campaign(
        model=model, recipe={"epochs": 2, "batch_size": BATCH}, subsets={"ratios": [0.2], "repetitions": 5}
    )


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with one shard, a stack of five, and no run."""
    campaign = campaign_of(MLP)
    dataset = load_dataset(campaign.dataset)
    header = make_header(campaign, dataset, shard_size=5, stack_size=5)
    examples = campaign_examples(campaign, dataset, CampaignTables({}))
    return Store.create(str(tmp_path / "s"), header, examples).uri


def exhaust_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")


def exhaust_cpu() -> None:
    torch.empty(1 << 60)


def exhaust_numpy() -> None:
    np.empty(1 << 60, dtype=np.uint8)


@pytest.fixture
def scarce(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device with memory for the minibatches of two models, and what its allocator raises."""
    whole = StackedModel.__call__
    exhaust: Callable[[], None] = getattr(request, "param", exhaust_gpu)

    def call(stack: StackedModel, images: torch.Tensor) -> torch.Tensor:
        if len(images) > 2 * BATCH:
            exhaust()
        return whole(stack, images)

    monkeypatch.setattr(StackedModel, "__call__", call)


@pytest.mark.slow
@pytest.mark.parametrize("scarce", [exhaust_gpu, exhaust_cpu, exhaust_numpy], indirect=True)
@pytest.mark.usefixtures("scarce")
def test_a_stack_that_does_not_fit_is_halved_until_it_does(store: str) -> None:
    campaign = campaign_of(MLP)
    worker = Worker(campaign, store, "cpu", 0)
    summary = worker.attempt(SHARD)
    assert isinstance(summary, ShardSummary)
    start, end = f"from {SHARD.shard_id} on this worker trains", "at a time; losses may differ in the last bit"
    assert summary.notes == (
        f"5 models at a time ran out of memory (cpu): {start} 3 {end}",
        f"3 models at a time ran out of memory (cpu): {start} 2 {end}",
    )
    data = on_device(campaign, load_dataset(campaign.dataset))
    alike = StackedEngine(2, stack_size=5).train(campaign, data, SHARD.runs)
    results = worker.train(SHARD)  # again, in stacks of two at once
    assert isinstance(results, list)
    assert told(results) == told(alike)


@pytest.mark.slow
@pytest.mark.usefixtures("scarce")
def test_an_interrupted_fallback_resumes_from_its_own_checkpoint(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = campaign_of(MLP)
    whole = Worker(campaign, store, "cpu").train(SHARD)
    taken: list[int] = []
    train_epoch = ResumableStack.train_epoch

    def counted(trainer: ResumableStack) -> object:
        taken.append(1)
        if len(taken) == 7:
            raise ValueError("interrupted")
        return train_epoch(trainer)

    monkeypatch.setattr(ResumableStack, "train_epoch", counted)
    interrupted = Worker(campaign, store, "cpu", 0).train(SHARD)
    assert isinstance(interrupted, ShardError)
    assert interrupted.message == "ValueError: interrupted"
    worker = Worker(campaign, store, "cpu", 0)
    results = worker.train(SHARD)
    assert isinstance(results, list)
    assert isinstance(whole, list)
    assert told(results) == told(whole)
    # Five at a time and three at a time fail in their first epoch; of six epochs of two at a time, four were trained.
    assert len(taken) == 7 + 2 + 2
    summary = worker.commit(SHARD, results)
    assert isinstance(summary, ShardSummary)
    assert len(summary.notes) == 2


@pytest.mark.slow
def test_one_model_that_does_not_fit_is_an_error_that_names_the_fields(tmp_path: Path) -> None:
    report = run_campaign(scarce_campaign(BATCH - 1), tmp_path / "s", shard_size=5)
    (failed,) = report.failures
    assert re.fullmatch(
        r"ModelError: user_code:scarce_model: training one model runs out of memory on the CPU \([\d.]+ GB free now\): "
        r"lower recipe.batch_size \(64\), set recipe.precision: bfloat16, or choose a smaller model",
        failed.error.message,
    )
    assert failed.error.exit_code == 2
    assert "OutOfMemoryError" in failed.error.traceback


def test_an_evaluation_that_does_not_fit_is_made_in_smaller_batches(request: pytest.FixtureRequest) -> None:
    """Training fits, 1,000 examples of a model do not: the runs stay those of the whole stack."""
    campaign, runs = campaign_of(MLP), [Run(200_000, k) for k in range(2)]
    data = on_device(campaign, load_dataset(campaign.dataset))
    ample = StackedEngine(2).train(campaign, data, runs)
    request.getfixturevalue("scarce")
    assert told(StackedEngine(2).train(campaign, data, runs)) == told(ample)


@pytest.mark.slow
@pytest.mark.usefixtures("scarce")
def test_a_calibration_halves_stacks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = campaign_of(MLP)
    dataset, tried = load_dataset(campaign.dataset), []
    start = StackedEngine.start

    def noted(engine: StackedEngine, campaign: Campaign, data: DeviceData, runs: Sequence[Run]) -> Trainer:
        tried.append(engine.size)
        return start(engine, campaign, data, runs)

    monkeypatch.setattr(StackedEngine, "start", noted)
    monkeypatch.setattr(run_timing, "_ENOUGH_SECONDS", 0)
    time_runs(campaign, dataset, StackedEngine(5), torch.device("cpu"))
    assert sorted(set(tried)) == [2, 3, 5]


@pytest.mark.slow
@pytest.mark.parametrize("scarce", [exhaust_gpu, exhaust_numpy], indirect=True)
@pytest.mark.usefixtures("scarce")
def test_a_stack_is_chosen_that_fits_also_where_none_of_the_sizes_does() -> None:
    campaign = campaign_of(MLP)
    data = on_device(campaign, load_dataset(campaign.dataset))
    assert fastest_stack(campaign, data, [8, 16], "float32").size == 2
    assert fastest_stack(campaign, data, [1, 16], "float32").size == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory: you tried to allocate", True),
        ("CUDA error: out of memory", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("the user's own mistake", False),
    ],
)
def test_errors_of_allocators_are_recognized(text: str, expected: bool) -> None:
    assert is_out_of_memory(RuntimeError(text)) == expected


def test_what_follows_from_exhausted_memory_is_recognized() -> None:
    def capture(handled: bool) -> BaseException:
        try:
            try:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            except RuntimeError as error:
                if handled:
                    raise ValueError("the user's own mistake") from None
                raise RuntimeError("operation failed due to a previous error during capture") from error
        except (RuntimeError, ValueError) as error:
            return error

    assert is_out_of_memory(capture(handled=False))
    assert not is_out_of_memory(capture(handled=True))
    assert not is_out_of_memory(MemoryError("full this once"))
