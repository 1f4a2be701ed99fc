"""The campaign: the immutable description of all runs, and its identity."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from workers.campaign.dataset_spec import DatasetSpec, Digits, Encoder, FeatureData
from workers.campaign.drop_rules import Rule, ThresholdRule, check_rules, rules_at_ratio, threshold_rules
from workers.campaign.field_types import TITLE, CampaignName, Frozen
from workers.campaign.fields import absolute_path, relative_path, with_changes, with_paths, without_locations
from workers.campaign.mask_table import MaskTable, check_masks_of_design
from workers.campaign.model_spec import MLP, ModelSpec
from workers.campaign.noise import ImageNoise, LabelNoise
from workers.campaign.probes import ScoreSplit
from workers.campaign.recipe import Recipe
from workers.campaign.record import Record
from workers.campaign.score_column import UNNAMED, ScoreColumn, ScoreColumns

FORMAT = 1
"""Version of the meaning of a campaign's fields; part of the identity."""

PPM = 1_000_000
"""Ratios are stored as integers in parts per million, so that they are exact as keys, seeds and file names."""

MAX_REPETITIONS = 1_000_000

MAX_RUNS = 2_000_000
"""Of a campaign: a driver lists what is to be trained."""

BALANCED_VERSION = 2
"""Of how balanced subsets are drawn; part of a balanced campaign's identity. Version 1, which was not part of it, left
the memberships of up to 2 L - 1 examples correlated."""


def ratio_to_ppm(ratio: float) -> int:
    """The ratio in parts per million, exactly (0.7 -> 700000). Raises ValueError where it is not a whole number."""
    ratio_ppm = round(ratio * PPM) if 0 < ratio <= 1 else 0
    # The product of an exact six-decimal ratio is off by a few parts in 10^16 only.
    if abs(ratio * PPM - ratio_ppm) > 1e-6 or ratio_ppm == 0:
        raise ValueError(f"must be greater than 0, at most 1, with at most 6 decimals, got {ratio!r}")
    return ratio_ppm


def _exact_ratio(ratio: float) -> float:
    return ratio_to_ppm(ratio) / PPM


def _distinct(ratios: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(ratios)) != len(ratios):
        raise ValueError(f"must be all different, got {list(ratios)}")
    return ratios


Ratio = Annotated[float, AfterValidator(_exact_ratio)]
Ratios = Annotated[tuple[Ratio, ...], Field(strict=False, max_length=1000), AfterValidator(_distinct)]


class Subsets(Frozen):
    """Which subsets the models are trained on, and how many."""

    design: Literal["uniform", "balanced", "explicit", "masks"] = "uniform"
    """`uniform`: each subset is drawn uniformly among all subsets of its size, floor(ratio x N). `balanced`: so is
    each, but in every block of 20 to 100 runs every example is in the same share of the subsets. `explicit`: `scores`
    decide, by rules. Not random, so there is no memorization and no influence to estimate. `masks`: a file has them;
    estimates take them for random, as those of `uniform` are."""
    ratios: Ratios = ()
    """Subset size over the number of training examples; each ratio has its own independent subsets. Left out beside
    rules by threshold: one for each of them, in their order, from the scores; under `masks` their mean size over N."""
    repetitions: Annotated[int, Field(ge=1, le=MAX_REPETITIONS)]
    """Runs at each ratio."""
    replicates: Annotated[int, Field(ge=1, le=1000)] = 1
    """Runs of each subset, which differ in training alone: repetition r has the subset of r // replicates, and its own
    initialization, order and augmentation."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    masks: MaskTable | None = None
    """For `masks` alone: repetition r has mask r // replicates."""
    scores: ScoreColumns | None = None
    """For `explicit` alone, like what follows. One column, or several by names that the rules give."""
    drop: Annotated[tuple[Rule, ...], Field(strict=False, max_length=100)] = ()
    """The rules by which examples are dropped. Runs take turns: repetition k has rule k modulo their number, so that
    3 rules with 5 runs each are 15 repetitions. A rule by threshold has a ratio of its own, where it takes turns with
    the rules by share only: thresholds and `random` with 5 runs each are 10 repetitions."""
    per_class: bool = False
    """Drop the same share of every class (of given labels), each by its own order; else of all examples at once."""

    @model_validator(mode="after")
    def _runs_can_be_listed(self) -> "Subsets":
        runs = (len(self.thresholds) or len(self.ratios)) * self.repetitions
        if runs > MAX_RUNS:
            raise ValueError(f"ratios x repetitions must be at most {MAX_RUNS:,} runs, got {runs:,}")
        return self

    @model_validator(mode="after")
    def _scores_fit_design(self) -> "Subsets":
        is_given = {"scores": self.scores is not None, "drop": bool(self.drop), "per_class": self.per_class}
        if self.design != "explicit":
            if any(is_given.values()):
                names = " and ".join(name for name, there in is_given.items() if there)
                raise ValueError(f"{names} must be left out, or the design be explicit, got {self.design}")
            return self
        missing = [name for name in ("scores", "drop") if not is_given[name]]
        if missing:
            raise ValueError(f"the design explicit needs {' and '.join(missing)}, got none")
        check_rules(self.drop, self.columns, self.ratios)
        return self

    @model_validator(mode="after")
    def _masks_and_replicates_fit_design(self) -> "Subsets":
        check_masks_of_design(self.design, self.masks, self.ratios)
        if self.replicates > 1 and self.design == "explicit":
            raise ValueError("replicates must be left out under the design explicit, whose rules repeat")
        return self

    @model_validator(mode="after")
    def _ratios_or_thresholds(self) -> "Subsets":
        thresholds = self.thresholds
        if not thresholds and not self.ratios and self.masks is None:
            raise ValueError("ratios must be at least one, got none")
        if thresholds and self.per_class:
            raise ValueError("per_class must be left out beside at_least and at_most, got true")
        if thresholds and self.ratios and len(self.ratios) != len(thresholds):
            raise ValueError(
                "ratios must be left out beside at_least and at_most, since they follow from the scores, "
                f"got {', '.join(f'{ratio:g}' for ratio in self.ratios)}"
            )
        return self

    @property
    def independent(self) -> bool:
        """Whether each run has a random subset of its own: what planned standard errors of mem are of."""
        return self.design != "explicit" and self.replicates == 1

    @property
    def columns(self) -> dict[str, ScoreColumn]:
        """The columns of scores by name, UNNAMED for an only one; none under other designs than `explicit`."""
        scores = self.scores or {}
        return {UNNAMED: scores} if isinstance(scores, ScoreColumn) else dict(scores)

    @property
    def thresholds(self) -> tuple[ThresholdRule, ...]:
        """The rules by threshold, in their order; each has the ratio at its place."""
        return threshold_rules(self.drop)

    def rules(self, ratio_ppm: int) -> tuple[Rule, ...]:
        """The rules that the runs of a ratio take turns by, under the design `explicit`; none at another's ratio."""
        return rules_at_ratio(self.drop, self.ratios_ppm, ratio_ppm)

    @property
    def ratios_ppm(self) -> tuple[int, ...]:
        """The ratios in parts per million, in their order."""
        return tuple(ratio_to_ppm(ratio) for ratio in self.ratios)


class Campaign(Frozen):
    """A campaign file's content. Equal campaigns train bit-identical models on the same hardware and versions."""

    name: CampaignName | None = Field(default=None, json_schema_extra=TITLE)
    """The title of its report. No part of the identity: a store keeps the name that it was created with."""
    dataset: DatasetSpec = Digits()
    model: ModelSpec = MLP()
    recipe: Recipe
    label_noise: LabelNoise = LabelNoise()
    image_noise: ImageNoise = ImageNoise()
    subsets: Subsets
    record: Record = Record()

    @model_validator(mode="after")
    def _replicates_fit(self) -> "Campaign":
        if self.subsets.replicates > 1 and self.recipe.fixed_seed:
            raise ValueError(
                "recipe.fixed_seed must be false beside subsets.replicates: runs would be identical, got true"
            )
        if self.subsets.replicates > 1 and self.record.probes is not None:
            raise ValueError(
                "record.probes must be left out beside subsets.replicates: their errors are of other subsets"
            )
        return self

    def science(self) -> dict[str, Any]:
        """What decides every result, as plain data: no locations, and not how many runs (ratios, repetitions)."""
        return self._science(defaults=True)

    def identity(self, fingerprint: str) -> str:
        """SHA-256 (hex) of the science and of the data set's fingerprint: equal for runs that may share a store.

        Fields at their default are left out, so that a later version may add fields without orphaning stores. So a
        default, once released, never changes.
        """
        science = self._science(defaults=False)
        if self.subsets.design == "balanced":
            science["subsets"] |= {"version": BALANCED_VERSION}
        return _identity(science, fingerprint)

    def earlier_identities(self, fingerprint: str) -> tuple[str, ...]:
        """Those that the same campaign had while its subsets were drawn in another way: of stores that can be read, and
        not continued."""
        return (_identity(self._science(defaults=False), fingerprint),) if self.subsets.design == "balanced" else ()

    def _science(self, *, defaults: bool) -> dict[str, Any]:
        plain = without_locations(self, defaults=defaults)
        drawn = plain["subsets"]
        plain["subsets"] = {"design": self.subsets.design, "seed": self.subsets.seed}
        of_design = {"explicit": ("scores", "drop", "per_class"), "masks": ("masks", "replicates")}
        names = of_design.get(self.subsets.design, ("replicates",))
        plain["subsets"] |= {name: drawn[name] for name in names if name in drawn}
        return plain

    def recorded_epochs(self) -> tuple[int, ...]:
        """The epochs (from 1) whose correctness is stored, ascending; the last is always among them."""
        last, rule = self.recipe.epochs, self.record.epochs
        if rule == "final":
            return (last,)
        step = 1 if rule == "all" else int(rule)
        return tuple(sorted({*range(step, last + 1, step), last}))

    def presentation_slots(self) -> int:
        """Epochs of presentations in a row of results: the most from one recorded epoch to the next; 0: none are kept.

        The row of epoch e holds those after the last recorded epoch before e, up to e.
        """
        epochs = self.recorded_epochs()
        longest = max(after - before for before, after in zip((0, *epochs), epochs, strict=False))
        return longest if self.record.presentations else 0

    def with_absolute_paths(self, folder: Path | None = None) -> "Campaign":
        """The same campaign with its local paths made absolute: below `folder`, None being the current one.

        `~` is expanded, URIs stay.
        """
        return with_paths(self, lambda place: absolute_path(place, folder or Path.cwd()))

    def with_paths_relative_to(self, folder: Path) -> "Campaign":
        """The same campaign for a file in `folder`: absolute paths below it become relative, others stay."""
        return with_paths(self, lambda place: relative_path(place, folder.absolute()))

    def with_label_noise(self, **changes: str) -> "Campaign":
        """The same campaign with fields of `label_noise` (file, sha256) replaced."""
        return self.model_copy(update={"label_noise": self.label_noise.model_copy(update=changes)})

    def with_ratios(self, ratios: tuple[float, ...]) -> "Campaign":
        """The same campaign with other ratios."""
        return self.model_copy(update={"subsets": self.subsets.model_copy(update={"ratios": ratios})})

    def with_masks(self, **changes: str | int) -> "Campaign":
        """The same campaign with fields of `subsets.masks` replaced. Raises ValueError without masks."""
        return with_changes(self, ("subsets", "masks"), changes)

    @property
    def encoder(self) -> Encoder | None:
        """The run whose features the data set has; None for other data sets, and until the file was read."""
        return self.dataset.encoder if isinstance(self.dataset, FeatureData) else None

    def with_encoder(self, encoder: Encoder) -> "Campaign":
        """The same campaign with the encoder of its features."""
        return with_changes(self, ("dataset",), {"encoder": encoder})

    @property
    def score_columns(self) -> dict[str, ScoreColumn]:
        """The columns of scores that the campaign takes from tables, by the field that names each."""
        columns = {
            **{f"subsets.scores.{name}".rstrip("."): column for name, column in self.subsets.columns.items()},
            "record.probes.split.scores": None if self.split is None else self.split.scores,
            "recipe.curriculum.scores": self.curriculum_scores,
        }
        return {field: column for field, column in columns.items() if column is not None}

    def with_score_column(self, field: str, **changes: str) -> "Campaign":
        """The same campaign with a field of `score_columns` changed (file, sha256). Raises ValueError without it."""
        return with_changes(self, field.split("."), changes)

    @property
    def curriculum_scores(self) -> ScoreColumn | None:
        """`recipe.curriculum.scores`."""
        return None if self.recipe.curriculum is None else self.recipe.curriculum.scores

    @property
    def split(self) -> ScoreSplit | None:
        """`record.probes.split`."""
        return None if self.record.probes is None else self.record.probes.split

    def without_probes(self) -> "Campaign":
        """The same campaign without `record.probes`: for training whose models nothing is recorded of."""
        return self.model_copy(update={"record": self.record.model_copy(update={"probes": None})})

    def without_scores(self) -> "Campaign":
        """The same campaign with uniform subsets, and random partitions, of the same sizes: for training that is no run
        of it."""
        uniform = {"design": "uniform", "masks": None, "scores": None, "drop": (), "per_class": False}
        campaign = with_changes(self, ("subsets",), uniform)
        if self.curriculum_scores is None:
            return campaign
        return with_changes(campaign, ("recipe", "curriculum"), {"scores": None})


def _identity(science: dict[str, Any], fingerprint: str) -> str:
    document = {"format": FORMAT, "fingerprint": fingerprint, "science": science}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
