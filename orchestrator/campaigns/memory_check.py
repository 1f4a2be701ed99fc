"""The memory that a campaign's training takes, beside what the device has: checked before a store is made."""

from rich import filesize

from orchestrator.campaigns.execution_plan import ExecutionPlan, decide_precision
from orchestrator.campaigns.preflight import ModelFacts
from workers.campaign.campaign import Campaign
from workers.campaign.model_spec import CustomModel
from workers.datasets import Dataset
from workers.errors import CampaignError, ModelError
from workers.subsets.draw import largest_minibatch
from workers.training import Precision
from workers.training.hardware import Machine
from workers.training.memory_needs import MemoryNeeds, standard_activations


def needs_in(campaign: Campaign, dataset: Dataset, facts: ModelFacts, precision: Precision) -> MemoryNeeds:
    """What one model of a campaign takes in a precision. Runs no code of the user's."""
    spec = campaign.model
    batch = largest_minibatch(campaign, dataset.num_train)
    if isinstance(spec, CustomModel):
        activations = batch * facts.example_bytes
    else:
        shape, classes = dataset.input_shape, dataset.num_classes
        activations = standard_activations(spec, shape, classes, batch, facts.forward_operations)
    return facts.state.with_activations(activations, precision)


def needs_of_one_model(campaign: Campaign, dataset: Dataset, facts: ModelFacts, machine: Machine) -> MemoryNeeds:
    """Memory of one model of a new store on workers like `machine`. Raises ModelError where it cannot fit there."""
    precision = decide_precision(campaign, machine)
    needs = needs_in(campaign, dataset, facts, precision)
    if machine.memory and needs.least > machine.memory:
        name = campaign.model.name if isinstance(campaign.model, CustomModel) else f"model {campaign.model.name}"
        halved = "" if precision == "bfloat16" else ", set recipe.precision: bfloat16"
        raise ModelError(
            f"{name}: one model takes about {filesize.decimal(needs.total)} ({parts_text(needs)}), "
            f"{memory_text(machine)}: lower recipe.batch_size ({campaign.recipe.batch_size:,}){halved} "
            "or choose a smaller model"
        )
    return needs


def check_stack_fits(execution: ExecutionPlan, needs: MemoryNeeds, machine: Machine, *, requested: bool) -> None:
    """Raise CampaignError where a stack cannot fit.

    On a GPU a stack that was not `requested` is made smaller in training instead.
    """
    size = execution.stack_size
    if machine.memory and size * needs.least > machine.memory and (requested or machine.device == "cpu"):
        raise CampaignError(
            f"stack_size: {size:,} models at a time take about {filesize.decimal(size * needs.total)}, "
            f"{memory_text(machine)}: at most {machine.memory // needs.least or 1:,} fit (--stack-size)"
        )


def parts_text(needs: MemoryNeeds) -> str:
    """What takes a model's memory."""
    parts = {
        "weights": needs.weights,
        "gradients": needs.gradients,
        "optimizer state": needs.optimizer,
        "activations": needs.activations,
    }
    return ", ".join(f"{name} {filesize.decimal(size)}" for name, size in parts.items())


def memory_text(machine: Machine) -> str:
    """What the machine has; of known memory."""
    size = filesize.decimal(machine.memory)
    return f"the GPU has {size}" if machine.device == "cuda" else f"this machine has {size} free"
