"""Balanced subsets: in each block of runs, every example is in the same share of the subsets.

The runs of a ratio r = a/b in lowest terms fall into blocks of L consecutive repetitions, L the smallest multiple of b
that is at least 20. Within a block every example is in exactly r L subsets, so over whole blocks every example has the
same number of runs with and without it, and no group is empty. Where that is no whole number (b over 100, for which
L = 20; or r N no whole number, for every subset has exactly floor(r N) examples), it is in one of the two nearest
numbers of subsets. Blocks are independent, and each subset alone is uniform among all of its size, as in the design
`uniform`: both estimate the same.

This is the idea of the balanced bootstrap (A. C. Davison, D. V. Hinkley and E. Schechtman, "Efficient bootstrap
simulation", Biometrika 1986) for subsets. Write correctness as a sum of effects of single examples and a rest; let x_i
in {0,1}^L be which of a block's runs train on i.

- Group sizes no longer vary. For any variance sigma^2 that subsets do not explain, a difference of the two groups'
  means has variance sigma^2 / (r (1-r) t) after t runs; under `uniform` 1 + (1 - 3 r (1-r)) / (r (1-r) t) times that
  to first order, and empty groups besides.
- The mean of the runs without i (consistency profile, C-score) loses variance like a sample without replacement: the
  part that single other examples explain is multiplied by r L / (L-1), the same part of the mean of the runs with i by
  (1-r) L / (L-1).
- The difference of both means (influence) does not gain there, because the two are now negatively correlated: that part
  is multiplied by L / (L-1). Memorization gains like consistency where models that trained on i are always right.

So standard errors, which are those of independent runs, become conservative for consistency, and for differences are at
most sqrt(L / (L-1)) too small, 2.6% (what p (1-p) / n misses with few runs comes on top, under both designs). Exact
p-values assume independent runs as well: what they take for a z-score of 4 may be one of 3.9. The factor comes from the
correlation of x_i and x_j within a block, whose mean square is about 1 / (L-1) for the subsets drawn here, as for
independent x_i (and 1 / (N-1)^2 more, because all subsets have one size, as under `uniform`). No balanced design of
many examples has less: x_1..x_N have only L-1 dimensions (L. R. Welch, "Lower bounds on the maximum cross correlation
of signals", IEEE Trans. Inf. Theory 1974). `benchmarks.correlations` shows it for all N, r and L: examples with more
correlation would be taken for each other, and discoveries be false.

Short blocks are worse: complementary pairs of subsets (antithetic sampling, L = 2 at r = 1/2) double that part of the
variance of influence, because other examples' effects are mistaken for i's. Hence at least 20 runs.
"""

from math import gcd

import numpy as np
import numpy.typing as npt

from workers.campaign.campaign import PPM

_MIN_BLOCK = 20
_MAX_BLOCK = 100
"""Limits of a block's length: see above for shorter ones; a longer one is rarely complete."""


def block_length(ratio_ppm: int) -> int:
    """Runs in a block at a ratio in parts per million: the smallest multiple of the ratio's denominator from 20 on.

    20 where the denominator is over 100, such as 1,000,000 for 0.333333.
    """
    denominator = PPM // gcd(ratio_ppm, PPM)
    return _MIN_BLOCK if denominator > _MAX_BLOCK else denominator * -(-_MIN_BLOCK // denominator)


def balanced_subset(
    block: np.random.Generator, place: int, *, length: int, size: int, num_examples: int
) -> npt.NDArray[np.bool_]:
    """bool[N], true at the `size` examples of the subset at `place`, 0..length-1, of a block.

    `block` is a generator at the start of the block's stream, the same for all its places. Every example is in
    floor(length x size / N) or ceil(length x size / N) of the block's subsets. Takes O(N) time and memory.

    The examples, in random order, fall into cells of `length` examples. A cell draws a random set of q places; its
    j-th example is in the subsets at those places moved back by j, cyclically. So each example's places are a uniformly
    random set of q, and every subset has q examples of the cell. Cells are independent. From `length` to
    2 x length - 1 examples are left over where `length` does not divide N, or all where N is less: see `_even_places`.
    """
    order = block.permutation(num_examples)
    cells = max(0, num_examples // length - (num_examples % length > 0))
    inside, left_over = order[: cells * length], order[cells * length :]
    share = length * size // num_examples
    # As many cells as possible have a share of one more, such that those left over have at least `share` too.
    extra = size - share * cells - -(-share * len(left_over) // length)
    shares = share + (np.arange(cells) < extra)
    drawn = _random_places(block, shares, length)
    subset = np.zeros(num_examples, dtype=bool)
    subset[inside] = np.roll(drawn, -place, axis=1).ravel()
    if len(left_over):
        subset[left_over] = _even_places(block, len(left_over), length, size - int(shares.sum()))[:, place]
    return subset


def _even_places(block: np.random.Generator, examples: int, length: int, size: int) -> npt.NDArray[np.bool_]:
    """bool[examples, length]: the places of each example, such that each place has `size` examples.

    Every example draws its places by itself, uniformly. Then examples move, chosen at random, from places with too many
    to places with too few, at most `length` - 1 times: a few in a hundred memberships, which leaves the examples'
    memberships as little correlated as independent ones.
    """
    shares = length * size // examples + (np.arange(examples) < length * size % examples)
    drawn = np.ascontiguousarray(_random_places(block, shares, length).T)
    excess = (drawn.sum(axis=1) - size).tolist()
    while any(excess):
        full, short = excess.index(max(excess)), excess.index(min(excess))
        # Those in `full` alone are as many more than those in `short` alone as their sizes differ: always enough.
        movable = np.flatnonzero(drawn[full] > drawn[short])
        number = min(excess[full], -excess[short])
        moved = block.permutation(movable)[:number]
        drawn[full, moved], drawn[short, moved] = False, True
        excess[full] -= number
        excess[short] += number
    return drawn[block.permutation(length)].T


def _random_places(block: np.random.Generator, shares: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.bool_]:
    """bool[len(shares), length]: in each row a uniformly random set of as many places as its share."""
    places = np.broadcast_to(np.arange(length, dtype=np.int32), (len(shares), length))
    return np.asarray(block.permuted(places, axis=1) < shares[:, np.newaxis])
