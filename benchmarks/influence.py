"""Time to find all pairs above a threshold, beside a dense float32 matrix product.

    python -m benchmarks.influence --examples 60000 --tests 10000 --runs 2000 --repeats 3 --dense
    python -m benchmarks.influence --examples 1281167 --tests 50000 --runs 2000

Both start from the runs in memory. Ours ends with the frame of pairs; the dense reduction, two float32 products over
all runs as in the published code of heldout-influence-estimation, ends with its matrix. Ours runs in a process of its
own, so that its peak memory is its own, generated data included. The machine's own peak of 8-bit integer products is
measured in the same run.
"""

import argparse
import multiprocessing
import resource
import statistics
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from analysis.influence.estimator import influence_pairs
from benchmarks.measure import cores
from benchmarks.planted import Planted, plant

THRESHOLD = 0.15
_INT8_SIZES = (1024, 2048, 4096)
_INT8_REPEATS = 5


@dataclass(frozen=True)
class Sizes:
    """What is generated."""

    examples: int
    tests: int
    runs: int
    planted: int

    @property
    def operations(self) -> float:
        """Multiplications and additions of one product."""
        return 2.0 * self.examples * self.tests * self.runs


@dataclass(frozen=True)
class Ours:
    """Seconds of each repeat, the first with compilation or its cache; memory in bytes; planted pairs found."""

    generating: float
    seconds: tuple[float, ...]
    pairs: int
    found: int
    peak_bytes: int


def measure_ours(sizes: Sizes, repeats: int) -> Ours:
    """Generate, and find the pairs `repeats` + 1 times."""
    started = time.perf_counter()
    planted = plant(sizes.examples, sizes.tests, sizes.runs, sizes.planted)
    generating, seconds = time.perf_counter() - started, []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        pairs = influence_pairs(planted.bits, threshold=THRESHOLD)
        seconds.append(time.perf_counter() - started)
    requested = set(zip(planted.tests.tolist(), planted.examples.tolist(), strict=True))
    recovered = requested & set(zip(pairs["test_example_id"].tolist(), pairs["example_id"].tolist(), strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Ours(generating, tuple(seconds), len(pairs), len(recovered), peak)


def measure_dense(planted: Planted) -> tuple[float, int]:
    """Seconds of the dense reduction, and how many pairs of its matrix reach the threshold."""
    subsets, correct = planted.bits.subsets.unpacked(), planted.bits.test_correct.unpacked()
    started = time.perf_counter()
    matrix = _group_means(correct, subsets) - _group_means(correct, ~subsets)
    seconds = time.perf_counter() - started
    return seconds, int((matrix >= THRESHOLD).sum())


def _group_means(correct: npt.NDArray[np.bool_], member: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """float32[T, N]: each test example's mean correctness over the runs with a training example."""
    sums = correct.T.astype(np.float32) @ member.astype(np.float32)
    sums /= np.maximum(member.sum(axis=0, dtype=np.float32), 1)
    return sums


def int8_peak() -> float:
    """The best rate of torch's 8-bit integer product on all cores, operations per second."""
    best = 0.0
    for side in _INT8_SIZES:
        left, right = (torch.randint(0, 2, (side, side), dtype=torch.int8) for _ in range(2))
        for _ in range(_INT8_REPEATS):
            started = time.perf_counter()
            torch._int_mm(left, right)
            best = max(best, 2.0 * side**3 / (time.perf_counter() - started))
    return best


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--tests", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--planted", type=int, default=1_000, help="pairs with an influence of 0.4")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dense", action="store_true", help="also the dense reduction: takes 20 N T bytes of memory")
    args = parser.parse_args()
    sizes = Sizes(args.examples, args.tests, args.runs, min(args.planted, args.tests))
    console = Console()
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        ours = pool.apply(measure_ours, (sizes, args.repeats))
    seconds, peak = statistics.median(ours.seconds[1:]), int8_peak()
    table = Table("", "seconds", "range", "operations/s", "pairs", box=None, header_style="bold")
    span = f"{min(ours.seconds[1:]):.2f} to {max(ours.seconds[1:]):.2f}"
    table.add_row("ours", f"{seconds:.2f}", span, f"{sizes.operations / seconds:.3g}", f"{ours.pairs:,}")
    if args.dense:
        planted = plant(sizes.examples, sizes.tests, sizes.runs, sizes.planted)
        measured = [measure_dense(planted) for _ in range(args.repeats)]
        times = [each for each, _ in measured]
        dense, span = statistics.median(times), f"{min(times):.2f} to {max(times):.2f}"
        rate = f"{2 * sizes.operations / dense:.3g}"
        table.add_row("dense float32", f"{dense:.2f}", span, rate, f"{measured[0][1]:,}")
    console.print(table)
    console.print(f"{sizes.examples:,} x {sizes.tests:,} pairs over {sizes.runs:,} runs, {cores()} cores")
    if args.dense:
        console.print(f"the dense reduction takes {dense / seconds:.1f} times as long")
    console.print(
        f"8-bit integer products reach {peak:.3g} operations/s here; ours {sizes.operations / seconds / peak:.0%}"
    )
    console.print(f"planted pairs found: {ours.found:,} of {sizes.planted:,}; first call {ours.seconds[0]:.2f} s")
    console.print(f"peak memory {ours.peak_bytes / 1e9:.2f} GB; data generated in {ours.generating:.1f} s")


if __name__ == "__main__":
    main()
