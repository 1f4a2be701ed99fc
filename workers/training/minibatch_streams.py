"""The random streams of a run in training: the order of its examples and their augmentation."""

from collections.abc import Mapping
from typing import Any

from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.campaign.lr_schedule import examples_per_epoch, steps_per_epoch
from workers.common.arrays import Integers
from workers.subsets.draw import Purpose, draw_subset, generator
from workers.subsets.partitions import draw_partitions
from workers.training.augmentation import draw_changes
from workers.training.device_data import DeviceData

Epoch = tuple[Integers, Integers | None]


class MinibatchStreams:
    """The order of one run's examples and their augmentation, epoch by epoch."""

    def __init__(self, campaign: Campaign, data: DeviceData, run: Run) -> None:
        self.recipe = campaign.recipe
        self.input_shape = data.input_shape
        self.subset = draw_subset(campaign, run, len(data.train_labels), data.subset_source)
        """bool[N]"""
        self.members = self.subset.nonzero()[0]
        self._turns: list[Integers] | None = None
        """The members of each partition, where partitions take turns."""
        if campaign.recipe.curriculum is not None:
            partitions = draw_partitions(campaign, run, self.subset, data.curriculum_scores)
            self._turns = [(partitions == each).nonzero()[0] for each in range(campaign.recipe.curriculum.partitions)]
        self.steps = steps_per_epoch(campaign.recipe, len(self.members))
        """Minibatches per epoch."""
        shown = examples_per_epoch(campaign.recipe, len(self.members))
        self.count = min(shown, self.steps * campaign.recipe.batch_size)
        """Presentations per epoch: n."""
        self._order = generator(campaign, Purpose.ORDER, run)
        self._changes = generator(campaign, Purpose.AUGMENTATION, run)
        self._mirrored = None
        """bool[N]: the examples that are mirrored in even epochs (from 0), where flips alternate."""
        if campaign.recipe.augmentation.flip == "alternating":
            coins = generator(campaign, Purpose.FLIP, run).integers(0, 2, len(self.subset))
            self._mirrored = coins.astype(bool)
        self._epoch = 0
        """Of the next draw."""
        self._ahead: tuple[dict[str, dict[str, Any]], Epoch] | None = None
        """An epoch that was drawn before it was requested, and where the streams were then."""

    def state(self) -> dict[str, dict[str, Any]]:
        """The states of NumPy's bit generators, by purpose."""
        if self._ahead is not None:
            return self._ahead[0]
        return {"order": dict(self._order.bit_generator.state), "augmentation": dict(self._changes.bit_generator.state)}

    def restore(self, state: Mapping[str, Mapping[str, Any]], epoch: int) -> None:
        """Continue from a `state` that was taken before that epoch (from 0)."""
        self._ahead = None
        self._epoch = epoch
        self._order.bit_generator.state = dict(state["order"])
        self._changes.bit_generator.state = dict(state["augmentation"])

    def next_epoch(self) -> Epoch:
        """The examples' indices int64[n] in a new order, and the changes int64[DRAWS, n] to their images, if any."""
        if self._ahead is None:
            return self._draw()
        (_, epoch), self._ahead = self._ahead, None
        return epoch

    @property
    def ahead(self) -> Epoch | None:
        """The next result of `next_epoch` where it is already drawn, else None."""
        return None if self._ahead is None else self._ahead[1]

    def draw_ahead(self) -> None:
        """Draw the next result of `next_epoch` while the device works. Does not change `state`."""
        if self._ahead is None:
            self._ahead = (self.state(), self._draw())

    def _draw(self) -> Epoch:
        order = self._order.permutation(self._shown())[: self.count]
        changes = draw_changes(self.recipe.augmentation, self.input_shape, self.count, self._changes)
        if changes is not None and self._mirrored is not None:
            changes[0] = self._mirrored[order] ^ bool(self._epoch % 2)
        self._epoch += 1
        return order, changes

    def _shown(self) -> Integers:
        """The examples that the next epoch is drawn from."""
        curriculum = self.recipe.curriculum
        if curriculum is None or self._turns is None:
            return self.members
        return self._turns[curriculum.partition_of(self._epoch)]
