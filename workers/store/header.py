"""campaign.json: which campaign and data a store belongs to. Written once, never changed."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from workers.campaign import Campaign, differences
from workers.errors import DamagedFileError, StoreMismatchError

STORE_FORMAT = 1


@dataclass(frozen=True)
class Header:
    """The frozen description of a store.

    `campaign` is the campaign as first given, as plain data; `versions` are those that created the store.
    """

    identity: str
    fingerprint: str
    dataset: str
    num_train: int
    num_test: int
    class_names: tuple[str, ...]
    shard_size: int
    campaign: dict[str, Any]
    science: dict[str, Any]
    versions: dict[str, str]
    store_format: int = STORE_FORMAT

    @property
    def parsed_campaign(self) -> Campaign:
        """The campaign as first given."""
        return Campaign.model_validate_json(json.dumps(self.campaign))

    def to_json(self) -> bytes:
        """The bytes of campaign.json."""
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes, path: str) -> "Header":
        """Read campaign.json; `path` opens an error. Raises DamagedFileError."""
        try:
            document = json.loads(content)
            found = document.get("store_format")
            if found != STORE_FORMAT:
                raise DamagedFileError(f"{path}: store_format must be {STORE_FORMAT}, got {found!r}")
            return cls(**{**document, "class_names": tuple(document["class_names"])})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedFileError(f"{path}: is damaged: {error}") from error

    def check_same(self, given: "Header", uri: str) -> None:
        """Raise StoreMismatchError, a line per field, where the given campaign or data are not this store's."""
        if self.identity == given.identity:
            return
        lines = [
            f"{uri}: {field}: the store has {theirs!r}, the campaign has {ours!r}"
            for field, ours, theirs in differences(given.science, self.science)
        ]
        if self.fingerprint != given.fingerprint:
            lines.append(
                f"{uri}: data set: the store was made with other data (fingerprint {self.fingerprint[:12]}, "
                f"now {given.fingerprint[:12]})"
            )
        raise StoreMismatchError("\n".join(lines or [f"{uri}: belongs to a campaign of another format"]))
