"""`Imported`: what a store's header holds for runs that were trained elsewhere."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field

from workers.campaign.field_types import Frozen

FORMAT = 1
"""Version of the meaning of an import's fields; part of the identity."""


class Imported(Frozen):
    """Where a store's runs came from. Model, recipe and seeds are not known: nothing can be trained into such a store.

    Its runs have one epoch, their last, as epoch 1: how many epochs came before is not known.
    """

    layout: Literal["heldout"]
    """The form of the files that were read."""
    experiment: Annotated[str, Field(min_length=1, max_length=1000)]
    """The published name of the runs: the folder that held them."""
    replicates: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Runs of each subset: repetition r has the subset of r // replicates."""

    def science(self) -> dict[str, Any]:
        """What tells one import from another, as plain data; `replicates` where it is not 1."""
        left_out = {"replicates"} if self.replicates == 1 else set()
        return {"imported": self.model_dump(mode="json", exclude=left_out)}

    def identity(self, fingerprint: str) -> str:
        """SHA-256 (hex) of the science and of the labels' fingerprint: equal for runs that may share a store."""
        document = {"format": FORMAT, "fingerprint": fingerprint, "science": self.science()}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
