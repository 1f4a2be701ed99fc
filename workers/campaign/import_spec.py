"""`Imported`: what a store's header holds for runs that were trained elsewhere."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field

from workers.campaign.field_types import Frozen
from workers.campaign.record import Record

FORMAT = 1
"""Version of the meaning of an import's fields; part of the identity."""


ImportedMargins = Literal["margin", "test_margin"]
"""Of training and test examples, or of test examples alone."""


class Imported(Frozen):
    """Where a store's runs came from. Model, recipe and seeds are not known: nothing can be trained into such a store.

    Its runs have one epoch, their last, as epoch 1: how many epochs came before is not known.
    """

    layout: Literal["heldout", "matrices"]
    """The form of the files that were read."""
    experiment: Annotated[str, Field(min_length=1, max_length=1000)]
    """The published name of the runs: the folder that held them, or the name that the user gave."""
    replicates: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Runs of each subset: repetition r has the subset of r // replicates."""

    outputs: ImportedMargins | None = None
    """The margins that the runs have: of training and test examples, or of test examples alone."""

    @property
    def record(self) -> Record:
        """What results hold, as a campaign would say it."""
        return Record(margins=self.outputs == "test_margin", outputs=("margin",) if self.outputs == "margin" else ())

    def science(self) -> dict[str, Any]:
        """What tells one import from another, as plain data; fields at their default are left out."""
        return {"imported": self.model_dump(mode="json", exclude_defaults=True)}

    def identity(self, fingerprint: str) -> str:
        """SHA-256 (hex) of the science and of the labels' fingerprint: equal for runs that may share a store."""
        document = {"format": FORMAT, "fingerprint": fingerprint, "science": self.science()}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
