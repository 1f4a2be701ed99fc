"""Cost of recording presentations: the same runs trained and committed with and without it, in turns.

    python -m benchmarks.presentations digits mnist --mnist-root FOLDER --repeats 7

One process, one core. Prints the median time of each, and the median over the repeats of its ratio to recording
nothing.
"""

import argparse
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.workloads import Sizes, make_workload
from orchestrator import run_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.record import Record

RECORDS = {
    "nothing": Record(),
    "bits": Record(presentations=True),
    "bits, probabilities, loss": Record(presentations=True, probabilities=True),
}
SIZES = {
    "digits": Sizes(ratios=[0.7], repetitions=64),
    "mnist": Sizes(ratios=[0.5], repetitions=4),
}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="+", choices=sorted(SIZES))
    parser.add_argument("--mnist-root", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    for name in args.works:
        sizes = SIZES[name]
        sizes = Sizes(mnist_root=args.mnist_root, ratios=sizes.ratios, repetitions=sizes.repetitions)
        campaign = make_workload(name, sizes).campaign
        seconds: dict[str, list[float]] = {record: [] for record in RECORDS}
        for _ in range(args.repeats):
            for record, times in seconds.items():
                times.append(_seconds(campaign.model_copy(update={"record": RECORDS[record]})))
        for record, times in seconds.items():
            ratio = median(value / base for value, base in zip(times, seconds["nothing"], strict=True))
            print(f"{name}, {record}: {median(times):.2f} s, {ratio:.3f} times nothing")


def _seconds(campaign: Campaign) -> float:
    """Training, evaluation, packing and writing of all runs."""
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        run_campaign(campaign, Path(folder) / "s", runner="local")
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
