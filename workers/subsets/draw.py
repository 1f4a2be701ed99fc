"""Draws each run's subset, and derives the seed of every random stream.

Each stream is `SeedSequence(campaign seed, spawn_key=(purpose, ratio in parts per million, repetition))`: it depends on
the run's key alone, so neither the order of training nor the number of workers can change a draw. Runs of one block of
the balanced design share a stream, whose key has the number of the block for the repetition.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from workers.campaign.campaign import PPM, Campaign
from workers.campaign.drop_rules import Rule, ThresholdRule
from workers.campaign.keys import Run
from workers.campaign.lr_schedule import examples_per_epoch
from workers.errors import CampaignError
from workers.subsets.balanced import balanced_subset, block_length
from workers.subsets.explicit import ScoredExamples, explicit_subset, threshold_ratio_ppm
from workers.subsets.masks import SubsetMasks


class Purpose(IntEnum):
    """What a random stream is for. The numbers are part of every campaign's results: never reuse or change one."""

    SUBSET = 0
    INITIALIZATION = 1
    ORDER = 2
    AUGMENTATION = 3
    LABEL_NOISE = 4
    SUBSET_BLOCK = 5
    PROBE = 6
    STAGE_DROPOUT = 7
    FLIP = 8
    PARTITION = 9
    IMAGE_NOISE = 10


_TRAINING = frozenset({Purpose.INITIALIZATION, Purpose.ORDER, Purpose.AUGMENTATION, Purpose.FLIP, Purpose.PARTITION})
"""Purposes whose streams `recipe.fixed_seed` makes those of all runs."""

_WHOLE_CAMPAIGN = Run(0, 0)
"""Key of the streams that all runs share; no run has ratio 0."""


def seed_sequence(campaign: Campaign, purpose: Purpose, run: Run, *key: int) -> np.random.SeedSequence:
    """The seed of one stream of one run; `key` tells apart streams of one purpose."""
    if campaign.recipe.fixed_seed and purpose in _TRAINING:
        run = _WHOLE_CAMPAIGN
    return np.random.SeedSequence(campaign.subsets.seed, spawn_key=(purpose, run.ratio_ppm, run.repetition, *key))


def generator(campaign: Campaign, purpose: Purpose, run: Run, *key: int) -> np.random.Generator:
    """A NumPy generator at the start of one stream of one run, as `seed_sequence` names it."""
    return np.random.Generator(np.random.PCG64(seed_sequence(campaign, purpose, run, *key)))


def whole_campaign_generator(campaign: Campaign, purpose: Purpose, *key: int) -> np.random.Generator:
    """As `generator`, of a stream that all runs share."""
    return generator(campaign, purpose, _WHOLE_CAMPAIGN, *key)


def integer_seed(campaign: Campaign, purpose: Purpose, run: Run) -> int:
    """The stream's seed as an integer in [0, 2**63), for generators that are not NumPy's."""
    return int(seed_sequence(campaign, purpose, run).generate_state(1, np.uint64)[0] >> 1)


def stage_generator(seed: int, stage: int) -> np.random.Generator:
    """A NumPy generator at the start of the stream of a stage's dropout masks, which all runs share; `seed` is the
    campaign's, `subsets.seed`."""
    whole = (_WHOLE_CAMPAIGN.ratio_ppm, _WHOLE_CAMPAIGN.repetition)
    spawn_key = (Purpose.STAGE_DROPOUT, *whole, stage)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=spawn_key)))


def subset_size(ratio_ppm: int, num_examples: int) -> int:
    """floor(ratio x N), in exact integers.

    Raises CampaignError where that is 0.
    """
    size = ratio_ppm * num_examples // PPM
    if size == 0:
        raise CampaignError(f"subsets.ratios: {ratio_ppm / PPM} of {num_examples} training examples is an empty subset")
    return size


def size_limits(campaign: Campaign, ratio_ppm: int, num_examples: int) -> tuple[int, int]:
    """The examples of the smallest and of the largest subset of a ratio: equal but for masks of different sizes.

    Raises CampaignError where one is empty.
    """
    masks = campaign.subsets.masks
    if masks is not None and masks.smallest is not None and masks.largest is not None:
        return masks.smallest, masks.largest
    size = subset_size(ratio_ppm, num_examples)
    return size, size


def largest_minibatch(campaign: Campaign, num_examples: int) -> int:
    """The most examples that a minibatch of a campaign has: `recipe.batch_size`, or those that an epoch shows."""
    sizes = [size_limits(campaign, ratio_ppm, num_examples)[1] for ratio_ppm in campaign.subsets.ratios_ppm]
    return min(campaign.recipe.batch_size, max(examples_per_epoch(campaign.recipe, size) for size in sizes))


def draw_subset(
    campaign: Campaign, run: Run, num_examples: int, source: ScoredExamples | SubsetMasks | None = None
) -> npt.NDArray[np.bool_]:
    """bool[N], true at the floor(ratio x N) examples that the run trains on, uniform among all such subsets.

    Under the design `uniform` independent of every other subset; under `balanced` of those in other blocks. Where
    `subsets.replicates` is m, runs r m..r m + m - 1 have the subset number r. Under `explicit` the rule of the run's
    repetition decides by the scores of the `source` (`workers.subsets.explicit`); under `masks` the source has the
    subsets, of any size (`workers.subsets.masks`).
    Raises CampaignError where the subset is empty or the ratio is not that of a threshold, ValueError where the design
    needs scores or masks and there are none.
    """
    size = subset_size(run.ratio_ppm, num_examples)
    if campaign.subsets.design == "explicit":
        if not isinstance(source, ScoredExamples) or len(source.given_labels) != num_examples:
            raise ValueError(f"the design explicit needs the scores of {num_examples} examples")
        rule, random = _rule(campaign, run, source), generator(campaign, Purpose.SUBSET, run)
        return explicit_subset(random, rule, size=size, examples=source, per_class=campaign.subsets.per_class)
    if campaign.subsets.design == "masks":
        if not isinstance(source, SubsetMasks) or len(source.bits) != num_examples:
            raise ValueError(f"the design masks needs masks of {num_examples} examples")
        return source.mask(run.repetition // campaign.subsets.replicates)
    if campaign.subsets.design == "balanced":
        length = block_length(run.ratio_ppm)
        block, place = divmod(run.repetition // campaign.subsets.replicates, length)
        random = generator(campaign, Purpose.SUBSET_BLOCK, Run(run.ratio_ppm, block))
        return balanced_subset(random, place, length=length, size=size, num_examples=num_examples)
    subset = np.zeros(num_examples, dtype=bool)
    drawn_for = Run(run.ratio_ppm, run.repetition // campaign.subsets.replicates)
    subset[generator(campaign, Purpose.SUBSET, drawn_for).permutation(num_examples)[:size]] = True
    return subset


def _rule(campaign: Campaign, run: Run, scored: ScoredExamples) -> Rule:
    rules = campaign.subsets.rules(run.ratio_ppm)
    own = [rule for rule in rules if isinstance(rule, ThresholdRule)]
    if not rules or any(threshold_ratio_ppm(rule, scored.scores_of(rule)) != run.ratio_ppm for rule in own):
        raise CampaignError(f"subsets.ratios: {run.ratio:g} does not follow from the scores and thresholds")
    return rules[run.repetition % len(rules)]


def noisy_images(campaign: Campaign, num_examples: int) -> npt.NDArray[np.bool_]:
    """bool[N], the round(fraction x N) training examples whose images have the campaign's pixel noise.

    By raw bits of PCG64, which NumPy promises not to change.
    """
    noisy = np.zeros(num_examples, dtype=bool)
    keys = whole_campaign_generator(campaign, Purpose.IMAGE_NOISE).bit_generator.random_raw(num_examples)
    noisy[np.argsort(keys, kind="stable")[: round(campaign.image_noise.fraction * num_examples)]] = True
    return noisy


def given_labels(campaign: Campaign, labels: npt.NDArray[np.int64], num_classes: int) -> npt.NDArray[np.int64]:
    """int64[N], the labels that all runs see: `labels` with round(fraction x N) of them replaced.

    The noisy examples are drawn uniformly; each gets one of the other num_classes - 1 classes, uniformly.
    """
    noisy_count = round(campaign.label_noise.fraction * len(labels))
    if noisy_count == 0:
        return labels
    if num_classes < 2:
        raise CampaignError(f"label_noise.fraction: needs at least 2 classes, the data set has {num_classes}")
    random = whole_campaign_generator(campaign, Purpose.LABEL_NOISE)
    noisy = random.permutation(len(labels))[:noisy_count]
    noisy_labels = labels.copy()
    noisy_labels[noisy] = (labels[noisy] + random.integers(1, num_classes, size=noisy_count)) % num_classes
    return noisy_labels
