"""Keys of runs and shards."""

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from workers.campaign.campaign import PPM, ratio_to_ppm
from workers.errors import CommandError

_RUN_ID = re.compile(r"r(\d{6,7})-(\d{6,7})", re.ASCII)
_RUN_PLACE = re.compile(r"([0-9.]{1,10})/(\d{1,7})", re.ASCII)
_SHARD_ID = re.compile(r"r(\d{6,7})-(\d{6,7})-(\d{6,7})")


@dataclass(frozen=True, order=True)
class Run:
    """One model trained on one subset, keyed by its ratio (in parts per million) and repetition (from 0)."""

    ratio_ppm: int
    repetition: int

    @property
    def run_id(self) -> str:
        """Stable text, such as r700000-000012."""
        return f"r{self.ratio_ppm:06d}-{self.repetition:06d}"

    @property
    def ratio(self) -> float:
        """Subset size over the number of examples."""
        return self.ratio_ppm / PPM

    @classmethod
    def parse(cls, text: str) -> "Run":
        """The run of a text such as 0.7/12 (ratio and repetition) or r700000-000012. Raises CommandError."""
        with suppress(ValueError):
            if match := _RUN_PLACE.fullmatch(text):
                return cls(ratio_to_ppm(float(match[1])), int(match[2]))
            if (match := _RUN_ID.fullmatch(text)) and 1 <= int(match[1]) <= PPM:
                return cls(int(match[1]), int(match[2]))
        raise CommandError(
            f"run: must be RATIO/REPETITION such as 0.7/12, or an id such as r700000-000012, got {text!r}"
        )


@dataclass(frozen=True, order=True)
class Shard:
    """The runs of one ratio with repetitions start..stop-1: what one worker trains together and commits as one file."""

    ratio_ppm: int
    start: int
    stop: int

    @property
    def shard_id(self) -> str:
        """Stable text, such as r700000-000016-000024 (stop excluded); a shard's file is named after it."""
        return f"r{self.ratio_ppm:06d}-{self.start:06d}-{self.stop:06d}"

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs in ascending repetition."""
        return tuple(Run(self.ratio_ppm, repetition) for repetition in range(self.start, self.stop))

    @classmethod
    def parse(cls, shard_id: str) -> "Shard | None":
        """The shard of that id; None where the text is not one."""
        match = _SHARD_ID.fullmatch(shard_id)
        if match is None:
            return None
        shard = cls(*(int(group) for group in match.groups()))
        valid = 1 <= shard.ratio_ppm <= PPM and shard.start < shard.stop and shard.shard_id == shard_id
        return shard if valid else None


def runs_by_ratio(shards: Iterable[Shard]) -> Counter[int]:
    """Runs at each ratio (parts per million), each once, by the names of ascending shards, which may overlap."""
    counts: Counter[int] = Counter()
    ends: Counter[int] = Counter()
    for shard in shards:
        counts[shard.ratio_ppm] += max(0, shard.stop - max(shard.start, ends[shard.ratio_ppm]))
        ends[shard.ratio_ppm] = max(shard.stop, ends[shard.ratio_ppm])
    return counts
