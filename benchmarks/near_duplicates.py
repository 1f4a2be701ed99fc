"""Influence on training examples at full size: planted duplicates found among all pairs, with time and memory.

    python -m benchmarks.near_duplicates --examples 60000 --runs 1000 --planted 200

Simulated runs at ratio 0.5. Models are right on an example with a probability of its own, whatever they trained on; the
two examples of a planted pair are right exactly where a run trained on one of them or both.
"""

import argparse
import resource
import time
from dataclasses import replace

import numpy as np

from analysis.influence.discoveries import influence_discoveries
from analysis.reading.bits import RatioBits, pack_bits, ratio_bits
from analysis.reading.examples import Labels


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--planted", type=int, default=200)
    parser.add_argument("--fdr", type=float, default=0.05)
    args = parser.parse_args()
    bits = simulated(args.examples, args.runs, args.planted)
    started, cpu = time.perf_counter(), time.process_time()
    frame = influence_discoveries(bits, fdr=args.fdr)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    pairs = set(zip(frame["affected_example_id"], frame["example_id"], strict=True))
    planted = {(2 * k + side, 2 * k + 1 - side) for k in range(args.planted) for side in (0, 1)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{args.examples * (args.examples - 1):,} ordered pairs, {args.runs:,} runs: {len(planted & pairs)} of "
        f"{len(planted)} planted found, {len(pairs - planted)} others; {seconds:.1f} s, CPU {cpu:.1f} s, {peak:.0f} MB"
    )


def simulated(examples: int, runs: int, planted: int) -> RatioBits:
    """Runs on training examples of one class; examples 2 k and 2 k + 1 of the first `planted` pairs are duplicates."""
    random = np.random.default_rng(0)
    subsets = random.random((runs, examples)) < 0.5
    right = random.random((runs, examples)) < random.beta(20, 1, examples)
    for first in range(0, 2 * planted, 2):
        right[:, first] = right[:, first + 1] = subsets[:, first] | subsets[:, first + 1]
    labels = np.zeros(examples, dtype=np.int64)
    bits = ratio_bits(500_000, 1, 0, Labels(labels, labels, labels), pack_bits(subsets), pack_bits(right))
    return replace(bits, affected="train")


if __name__ == "__main__":
    main()
