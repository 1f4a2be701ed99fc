"""`targets/*.json`: the requested repetitions of each ratio, one file per request; the newest counts.

Requests are numbered in the order in which they were made, and each holds for the ratios that it names, so that a later
one can ask for less: what was requested by mistake is taken back by asking again. A request's name holds its content,
so that two drivers that number theirs alike write two files, of which the larger number of repetitions holds. Requests
without a number were made before there were numbers: their union comes first.
"""

import hashlib
import json
import re
from collections import defaultdict
from typing import NamedTuple

from workers.campaign.campaign import Subsets
from workers.errors import DamagedFileError
from workers.store.files.base import Files
from workers.store.json_documents import read_target

_NUMBERED = re.compile(r"(\d{6,12})-r")


class _Found(NamedTuple):
    targets: dict[int, int]
    last: int
    """The highest number of a request."""


class Targets:
    """The requested repetitions in a store's files."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def add(self, subsets: Subsets, *, at_least: bool = False) -> None:
        """Ask for these ratios and repetitions, and no more of them; with `at_least`, for as many at least.

        Nothing is written where just that is asked for already.
        """
        there = self._read([])
        wanted = dict.fromkeys(sorted(subsets.ratios_ppm), subsets.repetitions)
        if at_least:
            wanted = {ratio_ppm: many for ratio_ppm, many in wanted.items() if many > there.targets.get(ratio_ppm, 0)}
        if all(there.targets.get(ratio_ppm) == many for ratio_ppm, many in wanted.items()):
            return
        document = {str(ratio_ppm): many for ratio_ppm, many in wanted.items()}
        name = "_".join(document) if len(document) <= 12 else f"{len(document)}-ratios-{_short_hash(document)}"
        path = f"targets/{there.last + 1:06d}-r{name}-{subsets.repetitions:06d}.json"
        self._files.create(path, json.dumps(document).encode())

    def targets(self, damaged: list[DamagedFileError]) -> dict[int, int]:
        """Repetitions wanted at each ratio (parts per million); ascending ratio.

        Files that cannot be used are added to `damaged`.
        """
        return dict(sorted(self._read(damaged).targets.items()))

    def _read(self, damaged: list[DamagedFileError]) -> _Found:
        by_number: dict[int, dict[int, int]] = defaultdict(dict)
        for name in self._files.names("targets"):
            match = _NUMBERED.match(name)
            together = by_number[int(match[1]) if match else 0]
            try:
                asked = read_target(self._files, f"targets/{name}")
            except DamagedFileError as error:
                damaged.append(error)
                continue
            for ratio_ppm, repetitions in asked.items():
                together[ratio_ppm] = max(repetitions, together.get(ratio_ppm, 0))
        wanted: dict[int, int] = {}
        for number in sorted(by_number):
            wanted |= by_number[number]
        return _Found(wanted, max(by_number, default=0))


def _short_hash(document: dict[str, int]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]
