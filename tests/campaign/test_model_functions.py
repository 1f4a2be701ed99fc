"""Model and data functions of the user's own: what cannot train as it was meant is one line, and nothing is written."""

import importlib
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator import run_campaign
from orchestrator.campaigns.preflight import check_campaign_fits
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.model_spec import CustomModel
from workers.datasets import load_dataset
from workers.errors import DataError, ModelError
from workers.models import build_model
from workers.store import Store

MODULE = """
import os, random, signal, time
import numpy as np
import torch
from torch import nn
from workers.datasets import Dataset

torch.manual_seed(1)
random.seed(1)
np.random.seed(1)
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.chdir("/")
torch.set_num_threads(1)
LAST = []

class Network(nn.Module):
    def __init__(self, pixels, classes, forward=None):
        super().__init__()
        self.layer = nn.Linear(pixels, classes)
        self.way = forward

    def forward(self, x):
        return self.layer(x.flatten(1)) if self.way is None else self.way(self, x.flatten(1))

def build(shape, classes, kind):
    global LAST
    pixels = int(np.prod(shape))
    model = Network(pixels, classes)
    layer = model.layer
    match kind:
        case "dtype": torch.set_default_dtype(torch.float64)
        case "device": torch.set_default_device("meta")
        case "gradients": torch.set_grad_enabled(False)
        case "seed": torch.manual_seed(3)
        case "frozen": model.requires_grad_(False)
        case "nothing": model = nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(classes))
        case "nan": layer.weight.data[0, 0] = float("nan")
        case "infinite": layer.bias.data[0] = float("inf")
        case "lazy": model = nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))
        case "meta": model = model.to("meta")
        case "double": model = model.double()
        case "complex": model.way = lambda self, x: self.layer(x) + 0j
        case "dictionary": model.way = lambda self, x: {"logits": self.layer(x)}
        case "wide": model.way = lambda self, x: self.layer(x).repeat(1, 2)
        case "elsewhere": model.way = lambda self, x: self.layer(x).to("meta")
        case "not finite": model.way = lambda self, x: self.layer(x).log().log()
        case "detached": model.way = lambda self, x: self.layer(x.detach()).detach()
        case "zero": model.way = lambda self, x: self.layer(x) * 0
        case "in place": model.way = lambda self, x: self.layer(x.mul_(2))
        case "time": layer.bias.data.fill_(time.perf_counter_ns() % 1_000_003)
        case "own generator": layer.weight.data.mul_(np.random.default_rng().normal())
        case "first five": model.way = lambda self, x: self.layer(x)[:5]
        case "off as it runs": model.way = lambda self, x: (self.layer(x), torch.set_grad_enabled(False))[0]
        case "forward": model.way = lambda self, x: self.layer(x) + np.random.normal()
        case "kept": LAST = LAST or [model]; model = LAST[0]
        case "shared": LAST = LAST or [layer]; model.layer = LAST[0]
        case "counter": LAST = [*LAST, 1]; layer.bias.data.fill_(len(LAST))
        case "global generators": layer.bias.data.fill_(random.random()); layer.weight.data.mul_(np.random.normal())
        case "twice": model.again = layer; model.eval()
        case "partly": layer.bias.requires_grad_(False); layer.eval()
    return model

def data(kind):
    labels = np.arange(20) % 2
    points = np.zeros((20, 3), np.float32)
    match kind:
        case "own generator": points += np.random.default_rng().normal(size=points.shape)
        case "time": points += time.perf_counter_ns() % 1_000_003
        case "global generators":
            points += np.random.normal(size=points.shape) + random.random() + torch.rand(20, 3).numpy()
    return Dataset(points.astype(np.float32), labels, points[:2].astype(np.float32), labels[:2], ("a", "b"))
"""

REFUSED = {
    "dtype": "sets torch's default dtype to torch.float64",
    "device": "sets torch's default device to meta",
    "gradients": "turns gradients off for the whole process",
    "seed": "calls torch.manual_seed, so that all runs would start from the same weights",
    "frozen": r"has no parameter to train: all 2 are frozen \(requires_grad is False\)",
    "nothing": "has no parameter to train: it has none",
    "nan": "layer.weight has NaN in it before any training",
    "infinite": "layer.bias has infinity in it before any training",
    "lazy": "1.weight has no size before the first batch",
    "meta": "must return a model on the CPU, got layer.weight on meta",
    "double": "must take float32 inputs, its weights are torch.float64",
    "complex": r"must return floating-point logits .*, got torch.complex64 \[2, 10\]",
    "first five": r"must return logits of every input of a batch, got \[5, 10\] for 7 inputs",
    "off as it runs": "no gradient passes",
    "dictionary": r"must return a tensor \[B, 10\] of logits, got dict",
    "wide": r"got torch.float32 \[2, 20\]",
    "elsewhere": "must return logits on its inputs' device, cpu, got meta",
    "not finite": "returns logits that are not finite",
    "detached": "its logits do not depend on its parameters",
    "zero": "all its gradients are zero",
    "in place": "changes its inputs in place",
    "time": "returns a different layer.bias at each call with the same seed: draw with torch's",
    "own generator": "returns a different layer.weight at each call with the same seed",
    "forward": "computes a different output at each call with the same seed",
    "kept": "returns the same weights at each call",
    "shared": "returns the same weights at each call",
    "counter": "returns a different layer.bias at each call with the same seed",
}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's module, new for each test; its text may be changed."""
    path = tmp_path / "code" / "users_functions.py"
    path.parent.mkdir()
    path.write_text(MODULE)
    monkeypatch.syspath_prepend(path.parent)
    yield path
    sys.modules.pop("users_functions", None)


def campaign(kind: str, **parts: object) -> Campaign:
    model = {"name": "users_functions:build", "options": {"kind": kind}}
    return small_campaign(model=model, **{"subsets": {"ratios": [0.5], "repetitions": 2}, **parts})


def process() -> tuple[object, ...]:
    """What a function could change of this process."""
    settings = (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(), torch.get_num_threads())
    numpys = str(np.random.get_state())  # noqa: NPY002 - the global one is what may change
    drawn = (random.getstate(), numpys, torch.get_rng_state().numpy().tobytes())
    return *settings, *drawn, os.getcwd()


@pytest.mark.slow
@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_train_as_it_was_meant_is_refused(kind: str, tmp_path: Path) -> None:
    before = process()
    with pytest.raises(ModelError, match=f"^users_functions:build: .*{REFUSED[kind]}") as caught:
        run_campaign(campaign(kind), tmp_path / "s")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "s").exists()
    assert kind == "forward" or process() == before, "a forward pass may draw, not leave settings"


@pytest.mark.usefixtures("module")
def test_numpys_and_pythons_global_generators_are_the_runs_own() -> None:
    spec = CustomModel(name="users_functions:build", options={"kind": "global generators"})

    def weights(seed: int) -> torch.Tensor:
        random.random()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return torch.nn.utils.parameters_to_vector(build_model(spec, (3,), 2).parameters())

    before = process()
    weights(1)
    assert process()[:4] == before[:4]
    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.slow
@pytest.mark.usefixtures("module")
def test_what_may_not_be_meant_is_noted() -> None:
    digits = load_dataset(small_campaign().dataset)
    assert check_campaign_fits(campaign("twice"), digits).notes == (
        "users_functions:build: the model itself is in evaluation mode, and will train in training mode like all parts "
        "(override its train method where it is not to)",
    )
    first, second = check_campaign_fits(campaign("partly"), digits).notes
    assert first == "users_functions:build: 1 of 2 parameters are frozen, layer.bias first"
    assert second.startswith("users_functions:build: layer is in evaluation mode")
    assert check_campaign_fits(campaign("plain"), digits).notes == ()


@pytest.mark.slow
def test_a_store_knows_the_models_it_was_made_with(module: Path, tmp_path: Path) -> None:
    """The function's code is in no identity: what it gives is looked at, by the driver and by every worker."""
    run_campaign(campaign("plain"), tmp_path / "s", repetitions=1)
    values = Store.open(tmp_path / "s").header.starting_values
    assert values is not None
    assert values[0] == 65 * 10
    assert run_campaign(campaign("plain"), tmp_path / "s").progress.trained == 1
    module.write_text(MODULE.replace("layer = model.layer\n", "layer = model.layer\n    layer.weight.data.mul_(1.5)\n"))
    sys.modules.pop("users_functions")
    importlib.invalidate_caches()
    with pytest.raises(ModelError, match=r"returns different models than when .*/s was created: its code changed"):
        run_campaign(campaign("plain"), tmp_path / "s", repetitions=3)
    run_campaign(small_campaign(), tmp_path / "own")
    assert b"starting_values" not in (tmp_path / "own" / "campaign.json").read_bytes()


@pytest.mark.usefixtures("module")
def test_data_that_differ_at_each_call_are_refused_before_a_store_is_made(tmp_path: Path) -> None:
    def of(kind: str) -> Campaign:
        dataset = {"name": "users_functions:data", "options": {"kind": kind}}
        return small_campaign(dataset=dataset, recipe={"epochs": 1, "batch_size": 8})

    for kind in ("own generator", "time"):
        with pytest.raises(DataError, match="users_functions:data: returns different data at each call"):
            run_campaign(of(kind), tmp_path / "s")
    assert not (tmp_path / "s").exists()
    before = process()
    one = load_dataset(of("global generators").dataset).fingerprint
    assert process()[:4] == before[:4]
    torch.rand(3)
    assert load_dataset(of("global generators").dataset).fingerprint == one
