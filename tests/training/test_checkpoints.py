"""Checkpoints of shards in training: resume to the same bits, harmless whatever is found in them."""

import hashlib
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.isolation import ROOT, longtail
from orchestrator import run_campaign
from orchestrator.campaigns.campaign_report import CampaignReport
from tests.campaigns.test_run import contents
from tests.command import call
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard
from workers.errors import CampaignError
from workers.store import Store
from workers.training.checkpoint_codec import decode, encode
from workers.training.shard import ShardSummary, Worker

EPOCHS, RUNS = 4, 4
STEPS = 2
"""Minibatches an epoch: half of 287 examples by 128."""
OPTIMIZERS = {
    "sgd": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-3},
    "adamw": {"name": "adamw", "learning_rate": 0.01},
    "muon": {"name": "muon", "learning_rate": 0.02, "others": {"name": "adamw", "norm_bias_factor": 2.0}},
}
SHARD = Shard(200_000, 0, RUNS)
CHECKPOINT = f"_checkpoints/{SHARD.shard_id}.checkpoint"


def campaign(log: Path, optimizer: str = "sgd", precision: str = "float32", **options: object) -> Campaign:
    """One shard of four runs, with everything that has a state."""
    return small_campaign(
        model={"name": "user_code:noted_model", "options": {"log": str(log), **options}},
        recipe={
            "epochs": EPOCHS,
            "batch_size": 128,
            "optimizer": OPTIMIZERS[optimizer],
            "schedule": {"name": "cosine"},
            "augmentation": {"flip": "alternating", "translate": 1},
            "lookahead": {"every": 2},
            "curriculum": {"epochs": 1},
            "precision": precision,
        },
        subsets={"ratios": [0.2], "repetitions": RUNS, "seed": 5},
        record={
            "epochs": 2,
            "margins": True,
            "presentations": True,
            "probabilities": True,
            "presented_margin": True,
            "training_statistics": True,
        },
    )


def train(planned: Campaign, store: object, minutes: float | None = 0) -> CampaignReport:
    return run_campaign(planned, str(store), shard_size=RUNS, checkpoint_minutes=minutes)


def lines(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def undisturbed(planned: Campaign, store: Path, log: Path) -> tuple[dict[str, str], int]:
    """(contents, minibatches presented) of a campaign in peace; the log is emptied."""
    train(planned, store, None)
    presented = lines(log)
    log.unlink()
    return contents(store), presented


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stackable", "precision", "optimizer"),
    [(True, "float32", "sgd"), (True, "bfloat16", "muon"), (False, "float32", "muon"), (False, "bfloat16", "sgd")],
)
def test_a_shard_that_is_tried_again_goes_on_where_it_was(
    stackable: bool, precision: str, optimizer: str, tmp_path: Path
) -> None:
    """Dropout, batch norm, a buffer, augmentation, margins, some runs that diverge; interrupted at a random step."""
    log = tmp_path / "log"
    planned = campaign(log, optimizer, precision, stackable=stackable, scale=1e38)
    whole, presented = undisturbed(planned, tmp_path / "whole", log)
    seed = f"{stackable} {precision} {optimizer}"
    (tmp_path / "log.faults").write_text(str(random.Random(seed).randrange(presented // 2, presented)))
    report = train(planned, tmp_path / "s")
    assert (report.progress.diverged, report.notes) == (2, ())
    assert contents(tmp_path / "s") == whole
    assert presented < lines(log) <= presented + STEPS, "at most one epoch is trained again"
    assert list((tmp_path / "s" / "_checkpoints").iterdir()) == []


@pytest.mark.slow
def test_a_killed_command_goes_on_where_it_was(tmp_path: Path) -> None:
    log = tmp_path / "log"
    planned = campaign(log, "adamw", "bfloat16", stackable=False)
    whole, presented = undisturbed(planned, tmp_path / "whole", log)
    trained = STEPS * EPOCHS * RUNS
    at = random.Random("killed").randrange(STEPS, trained)
    (tmp_path / "log.deaths").write_text(str(presented - trained + at + 1))
    (tmp_path / "campaign.yaml").write_text(planned.model_dump_json())
    command = longtail("run", tmp_path / "campaign.yaml", "--store", tmp_path / "s", "--checkpoint-minutes", 0)
    done = subprocess.run([*command, "--shard-size", str(RUNS)], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert contents(tmp_path / "s") == {}
    shutil.copytree(tmp_path / "s", tmp_path / "bare", ignore=shutil.ignore_patterns("_checkpoints"))
    again = []
    for store in (tmp_path / "bare", tmp_path / "s"):
        before = lines(log)
        assert train(planned, store).notes == ()
        assert contents(store) == whole
        again.append(lines(log) - before)
    assert again[0] - again[1] == at // STEPS * STEPS, "the epoch in which it was killed is the first to be trained"


@pytest.mark.slow
def test_a_checkpoint_in_an_object_store(tmp_path: Path) -> None:
    log, store = tmp_path / "log", f"memory://{tmp_path.name}/s"
    planned = campaign(log)
    whole, presented = undisturbed(planned, tmp_path / "whole", log)
    (tmp_path / "log.faults").write_text(str(presented - 1))
    train(planned, store)
    assert contents(store) == whole
    assert lines(log) <= presented + STEPS
    assert Store.open(store).checkpoints.read(SHARD, lambda: 2**20) is None


# Whatever is found ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def interruption(tmp_path_factory: pytest.TempPathFactory) -> tuple[Campaign, Path, dict[str, str]]:
    """(campaign, store, contents to expect): the store has a checkpoint in the midst of its shard's third run."""
    folder = tmp_path_factory.mktemp("interruption")
    planned = campaign(folder / "log", stackable=False)
    whole, _ = undisturbed(planned, folder / "whole", folder / "log")
    at = STEPS * EPOCHS * 2 + STEPS + 2
    faults = folder / "log.faults"
    faults.write_text(f"{at} {at + 2}")
    assert train(planned, folder / "s").failures[0].attempts == 2
    faults.unlink()
    return planned, folder / "s", whole


@pytest.fixture
def interrupted(
    interruption: tuple[Campaign, Path, dict[str, str]], tmp_path: Path
) -> tuple[Campaign, Path, dict[str, str]]:
    """(campaign, checkpoint, contents to expect) of a copy of that store."""
    planned, store, whole = interruption
    shutil.copytree(store, tmp_path / "s")
    return planned, tmp_path / "s" / CHECKPOINT, whole


def sealed(content: bytes) -> bytes:
    return hashlib.sha256(content).digest() + content


def changed(path: Path, **parts: object) -> bytes:
    """A checkpoint like the one at the path, with parts replaced."""
    saved = decode(path.read_bytes()[32:], 1437, 360)
    return sealed(encode(replace(saved, **parts)))  # type: ignore[arg-type]


def other_weights(path: Path) -> bytes:
    state = decode(path.read_bytes()[32:], 1437, 360).state
    assert state is not None
    return changed(path, state=replace(state, tensors=dict(list(state.tensors.items())[1:])))


def other_generator(path: Path) -> bytes:
    state = decode(path.read_bytes()[32:], 1437, 360).state
    assert state is not None
    generator = state.tensors["generator.0"].clone().fill_(255)
    return changed(path, state=replace(state, tensors={**state.tensors, "generator.0": generator}))


def no_epochs(path: Path) -> bytes:
    stacks = decode(path.read_bytes()[32:], 1437, 360).stacks
    return changed(path, stacks=[replace(stacks[0], records=[[]]), *stacks[1:]])


def no_margins(path: Path) -> bytes:
    stacks = decode(path.read_bytes()[32:], 1437, 360).stacks
    bare = [[replace(record, outputs={}) for record in records] for records in stacks[0].records]
    return changed(path, stacks=[replace(stacks[0], records=bare), replace(stacks[1], records=bare), *stacks[2:]])


def other_torch(path: Path) -> bytes:
    conditions = decode(path.read_bytes()[32:], 1437, 360).conditions
    return changed(path, conditions={**conditions, "torch": "1.0"})


class Bomb:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("exit 1",)


FOUND: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "nothing": (lambda path: b"", "is truncated or altered"),
    "truncated": (lambda path: path.read_bytes()[:-1], "is truncated or altered"),
    "a flipped bit": (lambda path: path.read_bytes()[:-99] + b"\xff" + path.read_bytes()[-98:], "is truncated or"),
    "a pickle": (lambda path: sealed(pickle.dumps(Bomb())), "is not a checkpoint: "),
    "a header only": (lambda path: sealed((2**60).to_bytes(8, "little") + b"{"), "is not a checkpoint: "),
    "of another model": (other_weights, "holds the state of another model"),
    "of an impossible generator": (other_generator, "mt19937"),
    "without its records": (no_epochs, "holds other epochs, or other values"),
    "without its margins": (no_margins, "or other values, than the campaign records"),
    "of another version": (other_torch, "was written under different conditions (torch '1.0', here "),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", FOUND)
def test_a_checkpoint_that_cannot_be_used_is_ignored_and_told(
    what: str, interrupted: tuple[Campaign, Path, dict[str, str]]
) -> None:
    planned, path, whole = interrupted
    make, reason = FOUND[what]
    path.write_bytes(make(path))
    (note,) = train(planned, path.parents[1], 525_600).notes
    assert reason in note
    assert note.startswith(f"checkpoint of {SHARD.shard_id} ")
    assert contents(path.parents[1]) == whole
    assert not path.exists()


@pytest.mark.slow
def test_a_checkpoint_too_large_to_be_one_is_not_read(interrupted: tuple[Campaign, Path, dict[str, str]]) -> None:
    planned, path, whole = interrupted
    os.truncate(path, 2**42)
    (note,) = train(planned, path.parents[1]).notes
    assert "must have at most" in note
    assert contents(path.parents[1]) == whole


@pytest.mark.slow
def test_a_true_checkpoint_is_used_also_without_writing_more(
    interrupted: tuple[Campaign, Path, dict[str, str]],
) -> None:
    planned, path, whole = interrupted
    log = Path(str(planned.model.options["log"]))  # type: ignore[union-attr]
    before = lines(log)
    assert train(planned, path.parents[1], 525_600).notes == ()
    assert contents(path.parents[1]) == whole
    assert lines(log) - before == STEPS * (EPOCHS - 1) + STEPS * EPOCHS
    assert not path.exists()


@settings(max_examples=30)
@given(data=st.data())
def test_altered_bytes_give_a_checkpoint_or_a_value_error(
    data: st.DataObject, interruption: tuple[Campaign, Path, dict[str, str]]
) -> None:
    some = (interruption[1] / CHECKPOINT).read_bytes()[32:]
    changes = data.draw(st.lists(st.tuples(st.integers(0, min(4000, len(some) - 1)), st.integers(0, 255)), max_size=3))
    altered = bytearray(some)
    for place, value in changes:
        altered[place] = value
    with suppress(ValueError):
        decode(bytes(altered[: data.draw(st.integers(len(some) - 3, len(some)))]), 1437, 360)


# Whatever goes wrong --------------------------------------------------------------------------------------------------


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """What a full disk does to large files: they cannot be written to their end."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


@pytest.mark.slow
def test_a_full_disk_costs_the_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    planned = small_campaign(model={"name": "mlp", "hidden": [1024]}, recipe={"epochs": 3, "batch_size": 256})
    run_campaign(planned, tmp_path / "whole", shard_size=3)
    with files_no_larger_than(200_000):
        report = run_campaign(planned, tmp_path / "s", shard_size=3, checkpoint_minutes=0)
    assert [note.partition(" cannot ")[0] for note in report.notes] == [
        "checkpoint of r600000-000000-000003",
        "checkpoint of r200000-000000-000003",
    ]
    assert all("File too large" in note for note in report.notes)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")
    assert list((tmp_path / "s" / "_checkpoints").iterdir()) == []


@pytest.mark.slow
def test_a_model_with_hidden_state_is_not_checkpointed(tmp_path: Path) -> None:
    (note,) = train(campaign(tmp_path / "log", secretive=True), tmp_path / "s").notes
    assert "has extra state, which checkpoints do not hold" in note
    assert list((tmp_path / "s" / "_checkpoints").iterdir()) == [], "only of runs that were done"


@pytest.mark.slow
def test_two_workers_on_one_shard(tmp_path: Path) -> None:
    planned = campaign(tmp_path / "log")
    whole, _ = undisturbed(planned, tmp_path / "whole", tmp_path / "log")
    store = tmp_path / "s"
    with pytest.raises(KeyboardInterrupt):
        run_campaign(planned, store, shard_size=RUNS, on_progress=_interrupt)
    one, other = (Worker(planned, str(store), "cpu", 0) for _ in range(2))
    results = one.train(SHARD)
    assert isinstance(results, list)
    before = lines(tmp_path / "log")
    committed = other.attempt(SHARD)
    assert isinstance(committed, ShardSummary)
    assert committed.bytes > 0
    assert lines(tmp_path / "log") - before < STEPS * EPOCHS, "goes on where the first one was"
    assert isinstance(one.train(SHARD), list), "a worker that was given up for dead writes once more"
    assert len(list((store / "_checkpoints").iterdir())) == 1
    assert contents(store) == whole
    again = one.commit(SHARD, results)
    assert isinstance(again, ShardSummary)
    assert again.bytes == 0
    assert list((store / "_checkpoints").iterdir()) == []


def _interrupt(progress: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_what_is_left_of_committed_shards_is_removed(tmp_path: Path) -> None:
    planned = campaign(tmp_path / "log")
    train(planned, tmp_path / "s", 10)
    assert not (tmp_path / "s" / "_checkpoints").exists(), "short runs write none"
    files = Store.open(tmp_path / "s").checkpoints
    waiting = Shard(200_000, RUNS, 2 * RUNS)
    for shard in (SHARD, waiting):
        files.write(shard, b"left")
    train(planned, tmp_path / "s")
    assert files.read(SHARD, lambda: 4) is None
    assert files.read(waiting, lambda: 4) == b"left"


@pytest.mark.slow
def test_never_and_what_is_no_number_of_minutes(tmp_path: Path) -> None:
    planned = campaign(tmp_path / "log")
    (tmp_path / "campaign.yaml").write_text(planned.model_dump_json())
    command = ("run", tmp_path / "campaign.yaml", "--store", tmp_path / "s", "--checkpoint-minutes")
    code, _, told = call(*command, "often")
    assert code == 2 and "must be a number or never, got 'often'" in told
    for wrong in (-3, float("nan"), "10"):
        with pytest.raises(CampaignError, match="checkpoint_minutes: must be a number from 0 to 525600 or None, got "):
            train(planned, tmp_path / "s", wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "s").exists()
    train(planned, tmp_path / "s", None)
    assert not (tmp_path / "s" / "_checkpoints").exists()
