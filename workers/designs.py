"""How the subsets of a ratio's runs are drawn together.

**Uniform**: each run's subset by itself, uniform among all of its size.

**Balanced**: ratio r = a/b in lowest terms; b consecutive repetitions are a block, in which every example is in exactly
a subsets. So |A_i| and |B_i| are the same for all examples, and no group is empty after one block. Blocks are
independent. This is stratification: an example's memberships in a block's runs are negatively correlated.

A block permutes the examples and takes them b at a time. Each such group draws one random choice of a of b runs; its
members have the b rotations of that choice, in the permuted order, so that each run gets a of them. Thus an example's
choice of runs is uniform among all of a of b; two examples of different groups, as all but b - 1 of N - 1 are, choose
independently, so that the influence of one is not mistaken for that of the other; and a run's subset is exchangeable
over the examples, of size floor(r N) exactly. What is left over where b does not divide N is taken in turns.

Balanced incomplete block designs, in which besides all pairs meet equally often, exist for few N and b only (R. A.
Bailey, "Design of Comparative Experiments", Cambridge 2008).
"""

import numpy as np
import numpy.typing as npt

from workers.campaign import PARTS, block_length

Bits = npt.NDArray[np.bool_]


def uniform_subset(random: np.random.Generator, num_examples: int, size: int) -> Bits:
    """bool[N] with `size` examples, uniform among all such subsets."""
    subset = np.zeros(num_examples, dtype=bool)
    subset[random.permutation(num_examples)[:size]] = True
    return subset


def balanced_subset(random: np.random.Generator, num_examples: int, parts: int, place: int) -> Bits:
    """bool[N], floor(ratio x N) of them true: the subset of the run at `place` (0..b-1) of the block of `random`."""
    runs = block_length(parts)
    chosen = parts * runs // PARTS
    order = random.permutation(num_examples)
    groups = num_examples // runs
    # The places of the `chosen` smallest of random numbers are a uniform choice.
    picks = np.argpartition(random.random((groups, runs), dtype=np.float32), chosen - 1, axis=1)[:, :chosen]
    subset = np.zeros(num_examples, dtype=bool)
    # The member at q of a group is in run k where its group chose (k + q) mod b.
    members = (picks - place) % runs + runs * np.arange(groups)[:, None]
    subset[order[members]] = True
    rest = order[groups * runs :]
    # floor(a e / b) of the e examples that are left over, going round them from run to run.
    taken = chosen * len(rest) // runs
    if taken:
        subset[rest[(place * taken + np.arange(taken)) % len(rest)]] = True
    return subset
