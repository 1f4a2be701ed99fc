"""Attribution methods by their linear datamodeling score on retrained models, each as a share of the attainable.

    python -m benchmarks.attribution digits mnist --stores attribution-stores --mnist-root DIR

Trains two stores of each work, or goes on with those there: runs that influence and datamodels are fitted to, and an
exam of subsets with several seeds each. Grad-Dot and TRAK are dattri's (`pip install dattri`), on replayed runs of the
first store; without dattri they are left out.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

import longtail
from analysis.influence.attributions.fitted_attributions import OwnAttribution, fit_attribution
from benchmarks.first_examples import SPLITS, write_first_examples
from orchestrator.cli.output import say
from workers.campaign.dataset_spec import TorchvisionData
from workers.campaign.keys import Run
from workers.campaign.yaml_io import check_campaign
from workers.common.arrays import Floats
from workers.training.device_data import load_on_device
from workers.training.replay import replay_run

_BATCH = 256
_PROJECTION = 128
"""Dimensions of TRAK's random projection. On digits 512 and 1,024 gave scores of 0: the projected gradients of 1,437
examples are then nearly dependent, and TRAK inverts their products."""


@dataclass(frozen=True)
class Work:
    """A campaign without its subsets, and how many of them are trained."""

    campaign: Mapping[str, Any]
    fitted: int
    subsets: int
    seeds: int
    tests: int
    """The first test examples."""
    checkpoints: int = 10


def make_work(name: str, stores: Path, mnist_root: Path | None) -> Work:
    """The work of a name; MNIST's data are its first 6,000 and 1,000 images."""
    model, record = {"name": "mlp", "hidden": [64]}, {"margins": True}
    if name == "digits":
        recipe = {"epochs": 20, "batch_size": 64}
        return Work(
            {"dataset": {"name": "digits"}, "model": model, "recipe": recipe, "record": record}, 1000, 100, 4, 360
        )
    mnist = longtail.load_dataset(TorchvisionData(name="mnist", root=str(mnist_root)))
    folder = stores.absolute() / "mnist-data"
    dataset = write_first_examples(mnist, (6000, 1000), folder)
    dataset |= {split: str(folder / dataset[split]) for split in SPLITS}
    recipe = {"epochs": 8, "batch_size": 64}
    return Work({"dataset": dataset, "model": model, "recipe": recipe, "record": record}, 400, 60, 2, 200)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="+", choices=("digits", "mnist"))
    parser.add_argument("--stores", type=Path, default=Path("attribution-stores"))
    parser.add_argument("--mnist-root", type=Path)
    parser.add_argument("--methods", nargs="+", choices=get_args(OwnAttribution), default=("influence", "ridge"))
    args = parser.parse_args()
    for name in args.works:
        measure(name, make_work(name, args.stores, args.mnist_root), args.stores, args.methods)


def measure(name: str, work: Work, stores: Path, methods: Sequence[OwnAttribution]) -> None:
    """Train what is missing, and print the table of one work."""
    fitted = {"ratios": [0.5], "repetitions": work.fitted, "seed": 1}
    exam = {"ratios": [0.5], "repetitions": work.subsets * work.seeds, "replicates": work.seeds, "seed": 2}
    opened = []
    for kind, subsets in (("fitted", fitted), ("exam", exam)):
        campaign = check_campaign({**work.campaign, "subsets": subsets})
        longtail.run_campaign(campaign, stores / f"{name}-{kind}")
        opened.append(longtail.open_store(stores / f"{name}-{kind}").store)
    tests = slice(0, work.tests)
    source = longtail.read_outputs(opened[0], tests=tests)
    attributions: dict[str, Floats] = {method: fit_attribution(source, method) for method in methods}
    if find_spec("dattri") is not None:
        attributions |= gradient_attributions(opened[0], work)
    truth = longtail.by_subset(longtail.read_outputs(opened[1], tests=tests))
    result = longtail.score_attributions(truth, attributions)
    say(f"{name}: {source.runs} runs fitted, {len(truth.subsets)} subsets x {truth.seeds} seeds, {result.tests} tests")
    say(f"ceiling {result.ceiling:.3f} ± {result.ceiling_se:.3f}")
    for row in result.scores.to_dict("records"):
        cells = [f"{row[column]:.3f} ± {row[f'{column}_se']:.3f}" for column in ("lds", "share", "effect")]
        say(f"{row['attribution']}: LDS {cells[0]}, share {cells[1]}, effect {cells[2]}")


def gradient_attributions(store: Any, work: Work) -> dict[str, Floats]:
    """dattri's Grad-Dot and TRAK, float64[N, tests], over the models of the store's first runs."""
    from dattri.algorithm import TracInAttributor, TRAKAttributor
    from dattri.task import AttributionTask

    campaign = store.header.campaign
    data = longtail.load_dataset(campaign.dataset)
    models = [replay_run(store, Run(500_000, number)).model.eval() for number in range(work.checkpoints)]
    states = [model.state_dict() for model in models]
    model = models[0]
    on_device = load_on_device(data, campaign, np.array(data.train_labels), torch.device("cpu"))

    def loader(images: Any, labels: Any) -> Any:
        tensors = on_device.scaled(torch.from_numpy(np.array(images))), torch.from_numpy(np.array(labels)).long()
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=_BATCH)

    train = loader(data.train_images, data.train_labels)
    test = loader(data.test_images[: work.tests], data.test_labels[: work.tests])

    def loss(parameters: Any, pair: Any) -> torch.Tensor:
        image, label = pair
        logits = torch.func.functional_call(model, parameters, image.unsqueeze(0))
        return torch.nn.functional.cross_entropy(logits, label.unsqueeze(0))

    def log_odds(parameters: Any, pair: Any) -> torch.Tensor:
        image, label = pair
        logits = torch.func.functional_call(model, parameters, image.unsqueeze(0))[0]
        own = torch.arange(len(logits)) == label
        odds: torch.Tensor = (logits * own).sum() - torch.where(own, -torch.inf, logits).logsumexp(0)
        return odds

    def probability(parameters: Any, pair: Any) -> torch.Tensor:
        return torch.exp(-loss(parameters, pair))

    plain = AttributionTask(loss, model, states)
    dot = TracInAttributor(plain, torch.ones(len(states)), normalized_grad=False).attribute(train, test)
    # TRAK's features are gradients of the log odds on both sides; with the loss on one the sign would be the other.
    task = AttributionTask(log_odds, model, states)
    trak = TRAKAttributor(task, probability, projector_kwargs={"proj_dim": _PROJECTION, "device": "cpu"})
    trak.cache(train)
    return {"Grad-Dot": dot.double().numpy(), "TRAK": trak.attribute(test).double().numpy()}


if __name__ == "__main__":
    main()
