"""How much of a preset is trained: all of it, or the first examples with fewer epochs and runs."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Count = Annotated[int, Field(ge=1)]


class Size(BaseModel):
    """What is left out is as in the preset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    examples: Count | None = None
    """Training examples, the first ones."""
    tests: Count | None = None
    """Test examples, the first ones; left out: a sixth of `examples`."""
    image_size: Count | None = None
    """Images are resized to so many pixels a side; needs `examples`."""
    epochs: Count | None = None
    runs: Count | None = None
    """At each ratio."""
    model: dict[str, JsonValue] = {}
    """Changed fields of the model."""
    batch_size: Count | None = None
    removal_runs: Count = 40
    """Runs without memorized examples and without random ones, together, at each threshold."""
    recipe_runs: Count = 20
    """With each of the optimizers, orders of training or ways of collecting that are compared."""
    collected: tuple[Count, Count] | None = None
    """Training examples that there are at first, and those that are collected of the others."""
    models: dict[str, dict[str, JsonValue]] = {}
    """Architectures that are compared, by the name that the figure gives them."""
    model_runs: dict[str, Count] = {}
    """Runs of those of `models` that have another number of them than `runs`."""
    thresholds: tuple[float, ...] = ()
    """Of memorization, for the removal of examples that reach it."""

    def __str__(self) -> str:
        said = [
            f"first {self.examples:,} images" if self.examples else "",
            f"{self.image_size} x {self.image_size} pixels" if self.image_size else "",
            f"{self.epochs} epochs" if self.epochs else "",
            ", ".join(f"{name} {value}" for name, value in self.model.items()),
            f"minibatches of {self.batch_size}" if self.batch_size else "",
        ]
        return ", ".join(part for part in said if part)

    def of(self, document: dict[str, Any]) -> dict[str, Any]:
        """A campaign's document at this size; its data set is left as it is."""
        subsets, model = dict(document["subsets"]), document["model"] | self.model
        if self.runs is not None:
            subsets["repetitions"] = self.runs
        recipe = document["recipe"] if self.epochs is None else with_epochs(document["recipe"], self.epochs)
        if self.batch_size is not None:
            recipe = recipe | {"batch_size": self.batch_size}
        return document | {"model": model, "recipe": recipe, "subsets": subsets}


def with_epochs(recipe: dict[str, Any], epochs: int) -> dict[str, Any]:
    """A recipe of another length, its schedule stretched with it. Milestones that meet are one."""
    schedule, stretch = dict(recipe.get("schedule", {})), epochs / recipe["epochs"]
    for name in ("peak_epoch", "warmup_epochs"):
        if name in schedule:
            schedule[name] = schedule[name] * stretch
    if "milestones" in schedule:
        scaled = {max(1, round(milestone * stretch)) for milestone in schedule["milestones"]}
        schedule["milestones"] = sorted(milestone for milestone in scaled if milestone < epochs)
    return recipe | {"epochs": epochs} | ({"schedule": schedule} if schedule else {})
