"""Replays: the model of any committed run, trained again and verified against the store."""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from orchestrator.runners.local import available_device
from workers.campaign.keys import Run
from workers.common.progress import ProgressCallback, no_progress
from workers.common.whole_file import replace_file
from workers.store import Store
from workers.training.replay import Replay, replay_run


def replay(
    store: str | os.PathLike[str] | Store,
    run: str | Run,
    *,
    device: str | None = None,
    accept_differences: bool = False,
    trust_code: bool = False,
    on_epoch: ProgressCallback = no_progress,
) -> Replay:
    """Train a run of a store again, verify every bit that the store recorded of it, and give its model.

    `run` is `RATIO/REPETITION`, such as `0.7/12`, or a run_id. `device` None: the GPU where there is one. The model is
    float32, in evaluation mode. With `accept_differences` a run whose bits differ is given too, with the differences.
    `trust_code` allows functions that the store's campaign names, and downloads.

    Raises CommandError where the run is not committed, ReplayMismatchError where a recorded bit differs, EstimateError
    for imported and diverged runs, StoreError, DataError, ModelError.
    """
    opened = store if isinstance(store, Store) else Store.open(store)
    chosen = Run.parse(run) if isinstance(run, str) else run
    return replay_run(
        opened,
        chosen,
        available_device(device),
        on_epoch=on_epoch,
        trust_code=trust_code,
        accept_differences=accept_differences,
    )


def write_weights(store: Store, replayed: Replay, path: Path) -> str:
    """Write a replayed model's weights and buffers as safetensors; returns their SHA-256 (hex).

    The file's metadata have the store's identity, the run, the model's fields and whether every bit was verified.
    Raises LongtailError where it cannot be written.
    """
    # Copies, because safetensors refuses tensors that share memory: tied weights.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in replayed.model.state_dict().items()}
    campaign = store.header.campaign
    metadata = {
        "longtail.identity": store.header.identity,
        "longtail.run": replayed.run.run_id,
        "longtail.model": json.dumps(campaign.model_dump(mode="json").get("model")),
        "longtail.verified": json.dumps(not replayed.differences),
    }
    replace_file(path, lambda unfinished: save_file(tensors, unfinished, metadata))
    return weights_sha256(tensors)


def weights_sha256(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 (hex) of the names, types, shapes and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
