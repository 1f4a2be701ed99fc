"""Forgetting events by chance: of a network that takes random steps as large as those of SGD.

    python -m benchmarks.chance_forgetting campaign.yaml --runs 5 --ratio 1

M. Toneva et al., "An empirical study of example forgetting during deep neural network learning", ICLR 2019, ask how
many events random updates would cause: a second network, from the same start, takes the steps of the first one with
their values shuffled. Here the change of each weight tensor in each step of the first network, momentum included, is
permuted and added to the second one's, so that steps have the same values, and the same norm, tensor by tensor. Both
are shown the same minibatches, and events are counted at presentations in both.
"""

import argparse
import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from analysis.learning.forgetting import Forgetting, count_forgetting
from orchestrator.campaigns.preflight import training_labels
from workers.campaign.campaign import Campaign, ratio_to_ppm
from workers.campaign.keys import Run
from workers.campaign.lr_schedule import rate_factor
from workers.campaign.yaml_io import read_campaign
from workers.datasets import load_dataset
from workers.datasets.image_noise import with_image_noise
from workers.models.stacking.single_model import single_model_weights
from workers.subsets.draw import Purpose, noisy_images, seed_sequence
from workers.training.determinism import deterministic
from workers.training.device_data import DeviceData, load_on_device
from workers.training.evaluation import correct
from workers.training.minibatch_streams import MinibatchStreams
from workers.training.model_init import initial_model
from workers.training.optimizers import Update

NETWORKS = ("SGD", "chance")


def shuffled(change: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The same values at random places."""
    order = torch.randperm(change.numel(), generator=generator)
    return change.flatten()[order].view_as(change)


def train_both(campaign: Campaign, data: DeviceData, run: Run) -> tuple[Forgetting, Forgetting]:
    """Forgetting of a run of the campaign, and of the network that takes its steps shuffled; on a CPU.

    Raises ValueError where the recipe has augmentation or lookahead: both networks see them as they are.
    """
    recipe, streams = campaign.recipe, MinibatchStreams(campaign, data, run)
    if recipe.augmentation.changes_images or recipe.lookahead is not None:
        raise ValueError("the recipe must have neither augmentation nor lookahead")
    models = [initial_model(campaign, data, run)]
    models.append(copy.deepcopy(models[0]))
    update, generator = Update(single_model_weights(models[0]), campaign.recipe.optimizer), torch.Generator()
    generator.manual_seed(int(seed_sequence(campaign, Purpose.PROBE, run).generate_state(1, np.uint64)[0] >> 1))
    seen = np.zeros((recipe.epochs, len(data.train_labels)), dtype=bool)
    right = np.zeros((2, *seen.shape), dtype=bool)
    step = 0
    for epoch in range(recipe.epochs):
        order, _ = streams.next_epoch()
        seen[epoch, order] = True
        for batch in torch.split(torch.from_numpy(order), recipe.batch_size):
            images, labels = data.scaled(data.train_images.select(batch)), data.train_labels[batch]
            logits = [model.train()(images) for model in models]
            for network, each in enumerate(logits):
                right[network, epoch, batch.numpy()] = correct(each.detach()[None], labels)[0].numpy()
            update.set_rate_factor(rate_factor(recipe, step, streams.steps))
            loss = F.cross_entropy(logits[0], labels, label_smoothing=recipe.label_smoothing)
            _step_both(models, update, loss, generator)
            step += 1
    epochs = np.arange(1, recipe.epochs + 1)
    main, chance = (count_forgetting(seen, each, epochs) for each in right)
    return main, chance


def forgetting_by_chance(
    campaign: Campaign, runs: int, ratio: float = 1.0, progress: Callable[[str], None] = lambda line: None
) -> list[tuple[Forgetting, Forgetting]]:
    """`train_both` of the first runs of a campaign at a ratio, whose data set is loaded. Raises as it."""
    dataset = load_dataset(campaign.dataset)
    labels = training_labels(campaign, dataset)
    dataset = with_image_noise(dataset, campaign, noisy_images(campaign, dataset.num_train))
    data = load_on_device(dataset, campaign, labels, torch.device("cpu"))
    pairs = []
    with deterministic(data.device, "float32"):
        for repetition in range(runs):
            pairs.append(train_both(campaign, data, Run(ratio_to_ppm(ratio), repetition)))
            means = [f"{each.events[each.presented].mean():.4f}" for each in pairs[-1]]
            progress(f"run {repetition}: events per example {means[0]}, by chance {means[1]}")
    return pairs


def _step_both(models: Sequence[nn.Module], update: Update, loss: torch.Tensor, generator: torch.Generator) -> None:
    """A step of the first network, and its changes, shuffled, of the second."""
    before = [parameter.detach().clone() for parameter in models[0].parameters()]
    update.apply(update.gradients(loss))
    with torch.no_grad():
        for old, new, other in zip(before, models[0].parameters(), models[1].parameters(), strict=True):
            other.add_(shuffled(new - old, generator))


def events_table(forgetting: Sequence[tuple[Forgetting, Forgetting]], most: int = 10) -> pd.DataFrame:
    """The share of the examples with 0, 1, ... events in a run, in percent, of both networks: mean ± SE over runs."""
    rows = []
    for events in range(most + 1):
        row: dict[str, object] = {"events": f"{events} or more" if events == most else events}
        for network, name in enumerate(NETWORKS):
            runs = [each[network] for each in forgetting]
            counts = [np.minimum(run.events[run.presented], most) for run in runs]
            shares = np.array([100 * (count == events).mean() for count in counts])
            se = shares.std(ddof=1) / np.sqrt(len(shares)) if len(shares) > 1 else np.nan
            row[name] = f"{shares.mean():.3f} ± {se:.3f}"
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Train pairs of networks, and print their events."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ratio", type=float, default=1.0)
    args = parser.parse_args()
    pairs = forgetting_by_chance(read_campaign(args.campaign), args.runs, args.ratio, partial(print, flush=True))
    print(events_table(pairs).to_string(index=False))


if __name__ == "__main__":
    main()
