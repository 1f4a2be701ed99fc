"""Checks before a store is created: loads the data set, checks that everything fits, describes the store."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from orchestrator.campaigns.probe_groups import check_noise, check_split, compares_noise
from workers.campaign.campaign import PPM, Campaign
from workers.campaign.dataset_spec import FeatureData
from workers.campaign.lr_schedule import examples_per_epoch, steps_per_epoch
from workers.campaign.model_spec import CustomModel
from workers.campaign.plural import count_text
from workers.common.arrays import AnyArray, Bools, Floats
from workers.datasets import Dataset
from workers.datasets.feature_file import read_encoder
from workers.datasets.label_table import labels_sha256, read_given_labels
from workers.datasets.mask_file import read_masks
from workers.datasets.score_table import read_scores
from workers.errors import CampaignError
from workers.models import build_model, check_gradients, check_output, check_weights, model_notes
from workers.models.repeatability import build_seeded, check_repeatable, starting_values_of
from workers.store import Header, examples_table
from workers.store.example_schema import MASKS, NOISY_IMAGE, SEEN_BY_ENCODER, SPLIT_SCORE, score_column, subset_score
from workers.store.output_columns import MAX_CLASSES
from workers.store.stack_program import GROUPED, StackProgram
from workers.subsets.draw import given_labels, noisy_images, size_limits
from workers.subsets.explicit import scores_sha256, threshold_ratios
from workers.subsets.masks import SubsetMasks, mean_ratio
from workers.training import Precision
from workers.training.device_data import check_augmentation
from workers.training.initialization import initialize
from workers.training.memory import check_training_memory
from workers.training.memory_needs import MemoryNeeds, state_needs
from workers.training.optimizers import check_optimizer
from workers.training.probes.registry import probe_form
from workers.training.shard import choose_engine
from workers.training.whitening import first_convolution


@dataclass(frozen=True)
class ModelFacts:
    """A model's size: operations of one example's forward pass, and number of weights; what may not be meant of it."""

    forward_operations: int
    parameters: int
    state: MemoryNeeds
    """Memory of weights, gradients and optimizer state in float32."""
    example_bytes: int = 0
    """Activations of one example in float32, of a model of the user's own."""
    notes: tuple[str, ...] = ()


def check_campaign_fits(campaign: Campaign, dataset: Dataset) -> ModelFacts:
    """Check that campaign and data set go together; returns the model's size.

    Raises CampaignError or ModelError; what a model of the user's own raises passes through.
    """
    _check_subsets(campaign, dataset.num_train)
    check_augmentation(dataset, campaign)
    if dataset.num_classes < 2:
        raise CampaignError(f"dataset: needs at least 2 classes, got {dataset.num_classes}")
    if "prediction" in campaign.record.outputs and dataset.num_classes > MAX_CLASSES:
        raise CampaignError(
            f"record.outputs: prediction needs at most {MAX_CLASSES:,} classes, got {dataset.num_classes:,}"
        )
    labels = np.asarray(dataset.train_labels)
    if (labels == labels[0]).all():
        only = dataset.class_names[labels[0]]
        raise CampaignError(f"dataset: needs training examples of 2 classes, but all {len(labels):,} are of {only!r}")
    name = campaign.model.name if isinstance(campaign.model, CustomModel) else f"model {campaign.model.name}"
    model = build_seeded(lambda: _starting_model(campaign, dataset))
    check_weights(model, name)
    if campaign.recipe.initialization.whitening:
        first_convolution(model)
    check_optimizer(campaign.recipe.optimizer, model, name)
    operations = check_output(model, dataset.input_shape, dataset.num_classes, name)
    notes: list[str] = []
    example_bytes = 0
    if isinstance(campaign.model, CustomModel):
        example_bytes = check_gradients(model, dataset.input_shape, dataset.num_classes, name)
        check_repeatable(name, lambda: _starting_model(campaign, dataset), dataset.input_shape)
        notes = model_notes(model, name)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return ModelFacts(operations, parameters, state_needs(model, campaign.recipe), example_bytes, tuple(notes))


def check_fits_memory(campaign: Campaign, dataset: Dataset, header: Header) -> None:
    """Raise ModelError where training a store's runs on a CPU would take more memory than its user allows."""
    engine = choose_engine(campaign, header, dataset.input_shape, torch.device("cpu"))
    counts = (dataset.num_train, dataset.num_test)
    check_training_memory(campaign, engine, dataset.input_shape, dataset.num_classes, counts)


def starting_values(campaign: Campaign, dataset: Dataset) -> tuple[float, ...] | None:
    """See `Header.starting_values`: None where the model is one of Longtail's own."""
    if not isinstance(campaign.model, CustomModel):
        return None
    return starting_values_of(lambda: build_model(campaign.model, dataset.input_shape, dataset.num_classes))


def _starting_model(campaign: Campaign, dataset: Dataset) -> torch.nn.Module:
    model = build_model(campaign.model, dataset.input_shape, dataset.num_classes)
    initialize(model, campaign.recipe.initialization)
    return model


def make_header(
    campaign: Campaign,
    dataset: Dataset,
    *,
    shard_size: int = 1,
    stack_size: int = 1,
    precision: Precision = "float32",
    program: StackProgram = GROUPED,
) -> Header:
    """The store header of a campaign on a data set."""
    return Header(
        identity=campaign.identity(dataset.fingerprint),
        fingerprint=dataset.fingerprint,
        dataset=campaign.dataset.name,
        num_train=dataset.num_train,
        num_test=dataset.num_test,
        class_names=dataset.class_names,
        shard_size=shard_size,
        stack_size=stack_size,
        program=program,
        precision=precision,
        campaign=campaign,
        versions=_versions(),
        probes=probe_form(campaign, dataset.input_shape, dataset.num_classes, (dataset.num_train, dataset.num_test)),
    )


@dataclass(frozen=True)
class CampaignTables:
    """What a campaign takes from tables beside its data set.

    float64[N] `scores` by their column in the store: of explicit subsets, and of the split that probes compare.
    `masks` and int64[N] `given` labels; None: the campaign has none. bool[N] `seen`: the examples that the encoder was
    trained on; None: the data set has no features of a run.
    """

    scores: Mapping[str, Floats]
    masks: SubsetMasks | None = None
    given: npt.NDArray[np.int64] | None = None
    seen: Bools | None = None


def resolve_tables(campaign: Campaign, dataset: Dataset) -> tuple[Campaign, CampaignTables]:
    """The campaign with what it still lacks, and what it takes from tables.

    It lacks the hashes of its scores, masks and given labels, the ratios of thresholds and masks, and the encoder of
    its features.

    Groups for probes of which one has no example are refused.

    Raises CampaignError, StoreError.
    """
    scores: dict[str, Floats] = {}
    given_labels, seen = None, None
    if isinstance(campaign.dataset, FeatureData):
        encoder, seen = read_encoder(campaign.dataset, dataset.fingerprint)
        campaign = campaign.with_encoder(encoder)
    for field, column in campaign.score_columns.items():
        values = scores[score_column(field)] = read_scores(column, dataset.num_train, field)
        campaign = campaign.with_score_column(field, sha256=scores_sha256(values))
    masks = None if campaign.subsets.masks is None else read_masks(campaign.subsets.masks, dataset.num_train)
    if masks is not None:
        campaign = _with_resolved_masks(campaign, masks)
    if campaign.subsets.thresholds:
        by_name = {name: scores[subset_score(name)] for name in campaign.subsets.columns}
        campaign = campaign.with_ratios(threshold_ratios(campaign.subsets, by_name))
    if campaign.split is not None:
        check_split(campaign.split, scores[SPLIT_SCORE])
    if campaign.label_noise.file is not None:
        given_labels = read_given_labels(campaign.label_noise, dataset.num_train, dataset.class_names)
        campaign = campaign.with_label_noise(sha256=labels_sha256(given_labels))
    if compares_noise(campaign):
        noisy = _labels_given(campaign, dataset, given_labels) != np.asarray(dataset.train_labels)
        check_noise(int(noisy.sum()), len(noisy))
    return campaign, CampaignTables(scores, masks, given_labels, seen)


def _with_resolved_masks(campaign: Campaign, masks: SubsetMasks) -> Campaign:
    """With what the masks tell: hash, number, sizes and ratio. Raises CampaignError where there are fewer than runs."""
    subsets, sizes, ratio = campaign.subsets, masks.sizes(), mean_ratio(masks)
    most = masks.count * subsets.replicates
    if subsets.repetitions > most:
        runs = f"{count_text(subsets.replicates, 'run')} of each" if subsets.replicates > 1 else "a run each"
        raise CampaignError(
            f"subsets.repetitions: must be at most {most:,}, {runs} of {count_text(masks.count, 'mask')}, "
            f"got {subsets.repetitions:,}"
        )
    if subsets.ratios not in ((), (ratio,)):
        raise CampaignError(
            f"subsets.ratios: must be left out, or {ratio:g}, the masks' mean size, got {subsets.ratios[0]:g}"
        )
    limits = {"count": masks.count, "smallest": int(sizes.min()), "largest": int(sizes.max())}
    return campaign.with_masks(sha256=masks.sha256(), **limits).with_ratios((ratio,))


def training_labels(campaign: Campaign, dataset: Dataset) -> npt.NDArray[np.int64]:
    """int64[N], the labels that models are trained on: given by a file, or the data set's with random noise."""
    if campaign.label_noise.file is not None:
        return read_given_labels(campaign.label_noise, dataset.num_train, dataset.class_names)
    return given_labels(campaign, np.asarray(dataset.train_labels), dataset.num_classes)


def _labels_given(campaign: Campaign, dataset: Dataset, given: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64]:
    """Those of a file, or where there is none the data set's with the campaign's random noise."""
    return given_labels(campaign, np.asarray(dataset.train_labels), dataset.num_classes) if given is None else given


def campaign_examples(campaign: Campaign, dataset: Dataset, tables: CampaignTables) -> pa.Table:
    """The store's table of a campaign's examples: those of the data set, given labels under label noise, and scores."""
    train, test = np.asarray(dataset.train_labels), np.asarray(dataset.test_labels)
    given_labels = _labels_given(campaign, dataset, tables.given)
    names = (dataset.train_names, dataset.test_names)
    columns: dict[str, AnyArray] = dict(tables.scores)
    if campaign.image_noise.fraction:
        columns[NOISY_IMAGE] = noisy_images(campaign, dataset.num_train)
    if tables.seen is not None:
        columns[SEEN_BY_ENCODER] = tables.seen
    if tables.masks is not None:
        columns[MASKS.name] = tables.masks.bits
    return examples_table(train, given_labels, test, columns, class_names=dataset.class_names, names=names)


def campaign_notes(campaign: Campaign, num_train: int) -> list[str]:
    """What a campaign may not mean as it is written, a line each."""
    recipe = campaign.recipe
    ratios_ppm = campaign.subsets.ratios_ppm
    shown = {each: examples_per_epoch(recipe, size_limits(campaign, each, num_train)[1]) for each in ratios_ppm}
    small = {ratio_ppm: count for ratio_ppm, count in shown.items() if count < recipe.batch_size}
    if not small:
        return []
    ratios = ", ".join(f"{ratio_ppm / PPM:g}" for ratio_ppm in small)
    part = "a subset" if recipe.curriculum is None else "a partition"
    return [
        f"recipe.batch_size {recipe.batch_size} is more than the {max(small.values())} examples of {part} "
        f"(at ratio {ratios}): an epoch is one update, on all of them"
    ]


def _check_subsets(campaign: Campaign, num_train: int) -> None:
    """Raise CampaignError where a ratio leaves an empty subset, no whole minibatch under `drop_last`, or no update that
    slow weights follow."""
    recipe = campaign.recipe
    for ratio_ppm in sorted(campaign.subsets.ratios_ppm):
        size, _ = size_limits(campaign, ratio_ppm, num_train)
        shown = examples_per_epoch(recipe, size)
        updates = recipe.epochs * steps_per_epoch(recipe, size)
        if shown == 0 and recipe.curriculum is not None:
            raise CampaignError(
                f"recipe.curriculum.partitions: must be at most {size}, the examples of a subset "
                f"at ratio {ratio_ppm / PPM:g}, got {recipe.curriculum.partitions}"
            )
        if recipe.lookahead is not None and 0 < updates < recipe.lookahead.every:
            raise CampaignError(
                f"recipe.lookahead.every: must be at most {updates}, the updates of a run "
                f"at ratio {ratio_ppm / PPM:g}, got {recipe.lookahead.every}"
            )
        if updates == 0:
            raise CampaignError(
                f"recipe.drop_last: leaves no minibatch of {recipe.batch_size} "
                f"in the {shown} examples at ratio {ratio_ppm / PPM}"
            )


def _versions() -> dict[str, str]:
    packages = ("longtail", "torch", "torchvision", "numpy", "pyarrow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
