"""`campaign.json`: the header of a store, with its campaign and data set. Written once, never changed."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from workers.campaign.campaign import Campaign
from workers.campaign.dataset_spec import Encoder, FeatureData
from workers.campaign.field_types import Frozen, Sha256
from workers.campaign.fields import differences
from workers.campaign.import_spec import Imported
from workers.campaign.mask_table import MaskTable
from workers.campaign.record import Record
from workers.campaign.score_column import ScoreColumn
from workers.errors import DamagedFileError, StoreError, StoreMismatchError
from workers.store.example_schema import NOISY_IMAGE, SEEN_BY_ENCODER, score_column
from workers.store.file_problems import RESTORE_HINT
from workers.store.output_columns import output_bits
from workers.store.probe_columns import ARROW_TYPES, ProbeColumn, ProbeForm
from workers.store.stack_program import GROUPED, StackProgram
from workers.store.training_statistics import statistic_columns
from workers.subsets.masks import MAX_VALUES

STORE_FORMAT = 1
CAMPAIGN = "campaign.json"

MAX_EXAMPLES = 1 << 24
"""More examples, training or test, are a mistake, or meant to fill a reader's memory."""
MAX_JSON = 16 << 20
"""Bytes of campaign.json; a data set of 100,000 classes with long names takes a fifth."""
Examples = Annotated[int, Field(ge=0, le=MAX_EXAMPLES)]


class Header(Frozen):
    """The frozen description of a store."""

    store_format: Annotated[int, Field(ge=STORE_FORMAT, le=STORE_FORMAT)] = STORE_FORMAT
    identity: Sha256
    fingerprint: Sha256
    dataset: str
    num_train: Examples
    num_test: Examples
    class_names: Annotated[tuple[str, ...], Field(strict=False)]
    shard_size: Annotated[int, Field(ge=1, le=1_000_000)]
    """Runs per shard; fixed, because a run's neighbours may decide its last bit."""
    stack_size: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Models trained as one program; 1: one at a time."""
    program: StackProgram = GROUPED
    """How a stack's models compute together. Not written where it is what every device can compute."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Of matrix products: as was decided when the store was made, by the recipe and the machine."""
    campaign: Campaign | Imported
    """As first given, locations and number of runs included; of runs that were trained elsewhere, their origin."""
    starting_values: Annotated[tuple[float, ...] | None, Field(strict=False, max_length=100)] = None
    """Of a model function under a fixed seed: its number of weights, and the first values of some. So that a function
    that changes is found out. None, and not written, where the model is one of Longtail's own."""
    probes: ProbeForm | None = None
    """What the runs' probes measure: columns, and the model's parameters. None, and not written, without probes."""
    versions: dict[str, str]
    """Of Python and of the packages that created the store."""

    @property
    def record(self) -> Record:
        """The record settings: what results hold beside correctness."""
        return self.campaign.record

    @property
    def presentation_slots(self) -> int:
        """See `Campaign.presentation_slots`."""
        return self.campaign.presentation_slots() if isinstance(self.campaign, Campaign) else 0

    @property
    def probe_columns(self) -> tuple[ProbeColumn, ...]:
        """The columns of results that probes fill."""
        return () if self.probes is None else self.probes.columns

    @property
    def scored(self) -> bool:
        """Whether examples have scores, which explicit subsets go by."""
        return isinstance(self.campaign, Campaign) and self.campaign.subsets.scores is not None

    @property
    def masks(self) -> MaskTable | None:
        """The masks that examples have, under the design `masks`."""
        return self.campaign.subsets.masks if isinstance(self.campaign, Campaign) else None

    @property
    def mask_bytes(self) -> int:
        """Bytes of an example's masks in `examples.parquet`."""
        return 0 if self.masks is None else -(-(self.masks.count or 0) // 8)

    @property
    def independent(self) -> bool:
        """Whether each run has a random subset of its own: what planned standard errors of mem are of."""
        return not self.scored and self.replicates == 1

    @property
    def replicates(self) -> int:
        """Runs of each subset: repetition r has the subset number r // replicates of its ratio."""
        return self.campaign.subsets.replicates if isinstance(self.campaign, Campaign) else self.campaign.replicates

    @property
    def score_columns(self) -> Mapping[str, ScoreColumn]:
        """The columns of scores that examples have, and what the campaign says of them."""
        columns = self.campaign.score_columns if isinstance(self.campaign, Campaign) else {}
        return {score_column(field): column for field, column in columns.items()}

    @property
    def has_noisy_images(self) -> bool:
        """Whether some training images have noise in their pixels."""
        return isinstance(self.campaign, Campaign) and self.campaign.image_noise.fraction > 0

    @property
    def encoder(self) -> Encoder | None:
        """The run whose features the store's models were trained on; None where they are no features of a run."""
        return self.campaign.encoder if isinstance(self.campaign, Campaign) else None

    @property
    def examples_fingerprint(self) -> str:
        """Of the data set whose examples these are: of features, of the data that they were computed from."""
        return self.fingerprint if self.encoder is None else self.encoder.examples

    @property
    def flag_columns(self) -> tuple[str, ...]:
        """The columns of truth values that training examples have."""
        there = {NOISY_IMAGE: self.has_noisy_images, SEEN_BY_ENCODER: self.encoder is not None}
        return tuple(name for name, is_there in there.items() if is_there)

    @property
    def is_superseded(self) -> bool:
        """Whether the runs' subsets were drawn in a way that is no longer used: they can be read, not continued."""
        campaign = self.campaign
        return isinstance(campaign, Campaign) and self.identity in campaign.earlier_identities(self.fingerprint)

    @property
    def rows_per_run(self) -> int:
        """Recorded epochs of a run; a diverged one may have fewer."""
        return len(self.campaign.recorded_epochs()) if isinstance(self.campaign, Campaign) else 1

    @property
    def bytes_per_run(self) -> int:
        """Memory that a run's rows take, bits packed; what the columns beside vectors take is rounded up."""
        vectors = bytes_per_row(self.record, self.presentation_slots, self.num_train, self.num_test)
        return self.rows_per_run * (vectors + probe_bytes(self.probe_columns) + 256)

    def to_json(self) -> bytes:
        """The bytes of campaign.json."""
        defaults = {"starting_values": None, "probes": None, "program": GROUPED}
        left_out = {name for name, default in defaults.items() if getattr(self, name) == default}
        return json.dumps(self.model_dump(mode="json", exclude=left_out), indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes, path: str) -> "Header":
        """Read campaign.json; `path` opens an error. Raises DamagedFileError."""
        if len(content) > MAX_JSON:
            raise DamagedFileError(f"{path}: must have at most {MAX_JSON} bytes", hint=RESTORE_HINT)
        try:
            header = cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            problem = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
            raise DamagedFileError(f"{path}: is damaged: {problem}", hint=RESTORE_HINT) from error
        if (header.probes is None) != (header.record.probes is None):
            raise DamagedFileError(f"{path}: was modified: probes do not match record.probes", hint=RESTORE_HINT)
        if isinstance(header.campaign, Campaign) and not header.campaign.subsets.ratios:
            raise DamagedFileError(f"{path}: was modified: subsets.ratios are missing", hint=RESTORE_HINT)
        of_features = isinstance(header.campaign, Campaign) and isinstance(header.campaign.dataset, FeatureData)
        if of_features and header.encoder is None:
            raise DamagedFileError(f"{path}: was modified: dataset.encoder is missing", hint=RESTORE_HINT)
        if header.masks is not None:
            values = (header.masks.count or 0) * (header.num_train + header.num_test)
            if None in (header.masks.count, header.masks.smallest, header.masks.largest) or values > 2 * MAX_VALUES:
                raise DamagedFileError(
                    f"{path}: was modified: subsets.masks are of no possible number", hint=RESTORE_HINT
                )
        if header.identity != header.campaign.identity(header.fingerprint) and not header.is_superseded:
            raise DamagedFileError(
                f"{path}: was modified: its identity does not match its campaign and data", hint=RESTORE_HINT
            )
        return header

    def check_same_noise(self, ours: "Header", examples: str) -> None:
        """Raise StoreError where the examples, at that place, may not be written anew: they might not be equal.

        The data set's fingerprint covers labels, and the identity covers scores. Label noise is drawn by NumPy, which
        does not promise the same draws across versions; it matters once a run has seen the labels.
        """
        version, here = self.versions.get("numpy"), ours.versions.get("numpy")
        if isinstance(self.campaign, Campaign) and self.campaign.label_noise.fraction > 0 and version != here:
            raise StoreError(
                f"{examples}: is missing, and its noisy labels were drawn with NumPy {version}: "
                f"run with that version (here is {here}), which draws the same ones again"
            )

    def _check_same_precision(self, other: "Header", uri: str) -> None:
        """The identity does not tell float32 from a precision that was left out, which another machine decided."""
        asked = other.campaign.recipe.precision if isinstance(other.campaign, Campaign) else None
        if asked == "float32" and self.precision != asked:
            raise StoreMismatchError(
                f"{uri}: recipe.precision: the store has {self.precision!r}, the campaign has {asked!r}: "
                "leave it out to train on in the store's, or give another store"
            )

    def check_same(self, other: "Header", uri: str) -> None:
        """Raise StoreMismatchError, a line per field, where the given campaign or data are not this store's."""
        if self.identity == other.identity:
            self._check_same_precision(other, uri)
            return
        if type(self.campaign) is not type(other.campaign):
            runs = {Campaign: "a campaign's runs", Imported: "imported runs"}
            raise StoreMismatchError(
                f"{uri}: holds {runs[type(self.campaign)]}, and cannot take {runs[type(other.campaign)]}"
            )
        if self.is_superseded and other.identity == self.campaign.identity(self.fingerprint):
            raise StoreMismatchError(
                f"{uri}: subsets.design: the store's balanced subsets were drawn by an earlier version, and its runs "
                "cannot be mixed with new ones: it can be read as before; to train more, give another store"
            )
        noun = "import" if isinstance(other.campaign, Imported) else "campaign"
        lines = [
            f"{uri}: {field}: the store has {theirs!r}, the {noun} has {ours!r}"
            for field, ours, theirs in differences(other.campaign.science(), self.campaign.science())
        ]
        if self.fingerprint != other.fingerprint:
            lines.append(
                f"{uri}: data set: the store was created from a different data set "
                f"(fingerprint {self.fingerprint[:12]}, now {other.fingerprint[:12]})"
            )
        raise StoreMismatchError("\n".join(lines or [f"{uri}: belongs to a campaign of another format"]))


def bytes_per_row(record: Record, slots: int, num_train: int, num_test: int) -> int:
    """Of the vectors of a row of results, with `slots` epochs of presentations, bits packed and before compression."""
    presented = slots * num_train * (2 + 16 * (3 * record.probabilities + record.presented_margin))
    statistics = 32 * num_train * len(statistic_columns(record))
    return (2 * num_train + num_test + output_bits(record, num_train, num_test) + presented + statistics) // 8


def probe_bytes(columns: Sequence[ProbeColumn]) -> int:
    """Of a row's columns of probes, before compression."""
    return sum(column.width * int(ARROW_TYPES[column.dtype].bit_width) for column in columns) // 8
