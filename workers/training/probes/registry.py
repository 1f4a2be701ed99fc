"""The probes that a campaign requests, and the settings that their columns depend on."""

import torch
from pydantic import ValidationError

from workers.campaign.campaign import Campaign
from workers.errors import CampaignError
from workers.models import build_model
from workers.models.layers import model_layers
from workers.store.probe_columns import ProbedTensor, ProbeForm
from workers.training.probes.base import Probe, ProbeShape
from workers.training.probes.custom import check_columns, custom_probe
from workers.training.probes.dropout import DropoutModes
from workers.training.probes.gradients import GradientAccounting
from workers.training.probes.neurons import NeuronsToFlip
from workers.training.probes.retraining import LayerRetraining
from workers.training.probes.rewinding import LayerRewinding


def campaign_probes(campaign: Campaign) -> list[Probe]:
    """The campaign's probes, in the order of their columns."""
    requested = campaign.record.probes
    if requested is None:
        return []
    probes: list[Probe] = []
    if requested.gradients:
        probes.append(GradientAccounting())
    if requested.rewinding:
        probes.append(LayerRewinding(requested.rewinding, campaign.recipe.epochs))
    if requested.retraining:
        probes.append(LayerRetraining(requested.retraining))
    if requested.neurons:
        probes.append(NeuronsToFlip(requested.neurons))
    if requested.dropout:
        probes.append(DropoutModes())
    return [*probes, *(custom_probe(spec) for spec in requested.custom)]


def probe_shape(
    campaign: Campaign, input_shape: tuple[int, ...], num_classes: int, counts: tuple[int, int]
) -> ProbeShape:
    """What the probes' columns depend on, for a model on such data; `counts`: training and test examples."""
    model = _new_model(campaign, input_shape, num_classes)
    tensors = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return ProbeShape(campaign, model_layers(model, campaign.model), tensors, *counts)


def probe_form(
    campaign: Campaign, input_shape: tuple[int, ...], num_classes: int, counts: tuple[int, int]
) -> ProbeForm | None:
    """The probes in a store's header; None without probes. Raises CampaignError where one cannot measure."""
    requested = campaign.record.probes
    if requested is None:
        return None
    noise = campaign.label_noise
    if requested.needs_groups and requested.split is None and noise.fraction == 0 and noise.file is None:
        raise CampaignError(
            "record.probes: compares examples with and without noisy labels, and label_noise has neither fraction nor "
            "file: give one of them (label_noise: {fraction: 0.1}), or compare typical with atypical examples "
            "(record.probes.split: {scores: {file: scores.parquet, column: mem}, above: 0.5})"
        )
    shape = probe_shape(campaign, input_shape, num_classes, counts)
    probes = campaign_probes(campaign)
    for spec, probe in zip(requested.custom, probes[len(probes) - len(requested.custom) :], strict=True):
        check_columns(spec.name, probe, shape)
    columns = tuple(column for probe in probes for column in probe.columns(shape))
    try:
        layers = tuple(layer.name for layer in shape.layers)
        return ProbeForm(columns=columns, layers=layers, tensors=_tensors(campaign, shape, input_shape, num_classes))
    except ValidationError as error:
        raise CampaignError(f"record.probes: {error.errors(include_url=False)[0]['msg']}") from error


def _tensors(
    campaign: Campaign, shape: ProbeShape, input_shape: tuple[int, ...], num_classes: int
) -> tuple[ProbedTensor, ...]:
    layer_of = {name: layer.name for layer in shape.layers for name in layer.tensors}
    sizes: dict[str, int] = {
        name: parameter.numel() for name, parameter in _new_model(campaign, input_shape, num_classes).named_parameters()
    }
    return tuple(ProbedTensor(name=name, layer=layer_of[name], size=sizes[name]) for name in shape.tensors)


def _new_model(campaign: Campaign, input_shape: tuple[int, ...], num_classes: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        return build_model(campaign.model, input_shape, num_classes)
