"""Subsets by masks of the user's own: run r is trained on mask r (mask r // m under `subsets.replicates: m`).

All masks are runs of one ratio, their mean size over N, whatever their own sizes: one set of runs for estimates.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.campaign.campaign import PPM
from workers.common.arrays import Bools, Integers
from workers.errors import CampaignError

BYTE = 8

MAX_VALUES = 1 << 30
"""Of all masks, R x N with the test examples: 128 MB."""


@dataclass(frozen=True)
class SubsetMasks:
    """`count` masks, R, of N examples.

    `bits` is uint8[N, ceil(R / 8)]: mask k is bit k % 8, from the lowest, of byte k // 8.
    """

    bits: npt.NDArray[np.uint8]
    count: int

    def mask(self, number: int) -> Bools:
        """bool[N]. Raises CampaignError where there is no such mask."""
        if not 0 <= number < self.count:
            raise CampaignError(f"subsets.masks: has masks 0 to {self.count - 1}, got a run of mask {number}")
        return (self.bits[:, number // BYTE] >> (number % BYTE) & 1).astype(bool)

    def sizes(self) -> Integers:
        """int64[R]: the examples of each mask."""
        columns = [np.unpackbits(byte[:, None], axis=1, bitorder="little").sum(axis=0) for byte in self.bits.T]
        sizes: Integers = np.concatenate(columns).astype(np.int64)[: self.count]
        return sizes

    def sha256(self) -> str:
        """SHA-256 (hex): what a campaign's identity knows of them."""
        digest = hashlib.sha256(json.dumps({"masks": [self.count, len(self.bits)]}).encode())
        digest.update(np.ascontiguousarray(self.bits).tobytes())
        return digest.hexdigest()


def pack_masks(blocks: Iterable[Bools]) -> SubsetMasks:
    """The masks of bool[some, N], at least one in all, in their order.

    Raises ValueError where a mask is empty or equal to another one: see its text.
    """
    packed: list[npt.NDArray[np.uint8]] = []
    waiting: Bools | None = None
    known: dict[bytes, int] = {}
    count = 0
    for block in blocks:
        for number, row in enumerate(block, start=count):
            if not row.any():
                raise ValueError(f"mask {number} must have an example, and is empty")
            digest = hashlib.sha256(np.packbits(row).tobytes()).digest()
            if known.setdefault(digest, number) != number:
                text = "give each once, and train several runs of it by subsets.replicates"
                raise ValueError(f"mask {number} must differ from mask {known[digest]}, and is equal: {text}")
        count += len(block)
        rows = block if waiting is None else np.concatenate([waiting, block])
        whole = len(rows) - len(rows) % BYTE
        packed.append(np.packbits(rows[:whole], axis=0, bitorder="little"))
        waiting = rows[whole:]
    if waiting is None:
        raise ValueError("must have a mask")
    packed.append(np.packbits(waiting, axis=0, bitorder="little"))
    return SubsetMasks(np.ascontiguousarray(np.concatenate(packed).T), count)


def mean_ratio(masks: SubsetMasks) -> float:
    """See `ratio_of_sizes`."""
    return ratio_of_sizes(masks.sizes(), len(masks.bits))


def ratio_of_sizes(sizes: Integers, num_examples: int) -> float:
    """The mean size over N, with six decimals, such that floor(ratio x N) is the size of masks of equal size."""
    mean = round(float(np.mean(sizes)))
    return min(PPM, max(1, -(-mean * PPM // num_examples))) / PPM
