"""campaign.json: which campaign and data a store belongs to. Written once, never changed."""

import json
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from workers.campaign import Campaign, differences
from workers.errors import DamagedFileError, StoreMismatchError
from workers.imported import Imported
from workers.recipe import Frozen

STORE_FORMAT = 1

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Examples = Annotated[int, Field(ge=0, lt=2**31)]


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
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products, as the recipe says, or as was decided for `auto`."""
    campaign: Campaign | Imported
    """As first given, locations and number of runs included; of runs that were trained elsewhere, their origin."""
    versions: dict[str, str]
    """Of Python and of the packages that created the store."""

    @property
    def margins(self) -> bool:
        """Whether results hold margins."""
        return isinstance(self.campaign, Campaign) and self.campaign.record.margins

    def to_json(self) -> bytes:
        """The bytes of campaign.json."""
        return json.dumps(self.model_dump(mode="json"), indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes, path: str) -> "Header":
        """Read campaign.json; `path` opens an error. Raises DamagedFileError."""
        try:
            header = cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise DamagedFileError(f"{path}: is damaged: {field}: {first['msg']}") from error
        if header.identity != header.campaign.identity(header.fingerprint):
            raise DamagedFileError(f"{path}: was changed: its identity is not that of its campaign and data")
        return header

    def check_same(self, given: "Header", uri: str) -> None:
        """Raise StoreMismatchError, a line per field, where the given campaign or data are not this store's."""
        if self.identity == given.identity:
            return
        if type(self.campaign) is not type(given.campaign):
            runs = {Campaign: "a campaign's runs", Imported: "imported runs"}
            raise StoreMismatchError(
                f"{uri}: holds {runs[type(self.campaign)]}, and cannot take {runs[type(given.campaign)]}"
            )
        noun = "import" if isinstance(given.campaign, Imported) else "campaign"
        lines = [
            f"{uri}: {field}: the store has {theirs!r}, the {noun} has {ours!r}"
            for field, ours, theirs in differences(given.campaign.science(), self.campaign.science())
        ]
        if self.fingerprint != given.fingerprint:
            lines.append(
                f"{uri}: data set: the store was made with other data (fingerprint {self.fingerprint[:12]}, "
                f"now {given.fingerprint[:12]})"
            )
        raise StoreMismatchError("\n".join(lines or [f"{uri}: belongs to a campaign of another format"]))
