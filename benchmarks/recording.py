"""Cost of what is recorded of each run: the same runs trained and committed with and without it, in turns.

    python -m benchmarks.recording digits mnist --mnist-root FOLDER --repeats 7 --records "all outputs"

One process, one core. Prints the median CPU time of each record, the median over the repeats of its ratio to recording
correctness alone, and the bytes of a run in the store.
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
    "correctness": Record(),
    "presentations": Record(presentations=True),
    "presentations, probabilities": Record(presentations=True, probabilities=True),
    "training statistics": Record(training_statistics=True),
    "margin": Record(outputs=("margin",)),
    "loss": Record(outputs=("loss",)),
    "probability": Record(outputs=("probability",)),
    "prediction": Record(outputs=("prediction",)),
    "all outputs": Record(outputs=("margin", "loss", "probability", "prediction")),
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
    parser.add_argument("--records", nargs="+", choices=list(RECORDS)[1:], default=list(RECORDS)[1:])
    args = parser.parse_args()
    for name in args.works:
        sizes = SIZES[name]
        sizes = Sizes(mnist_root=args.mnist_root, ratios=sizes.ratios, repetitions=sizes.repetitions)
        campaign = make_workload(name, sizes).campaign
        runs = campaign.subsets.repetitions * len(campaign.subsets.ratios)
        costs: dict[str, list[tuple[float, int]]] = {record: [] for record in ("correctness", *args.records)}
        for _ in range(args.repeats):
            for record, measured in costs.items():
                measured.append(_cost(campaign.model_copy(update={"record": RECORDS[record]})))
        for record, measured in costs.items():
            ratio = median(cost / base for (cost, _), (base, _) in zip(measured, costs["correctness"], strict=True))
            seconds = median(cost for cost, _ in measured)
            size = measured[0][1] / runs
            print(f"{name}, {record}: {seconds:.2f} s, {ratio:.3f} times correctness alone; {size:,.0f} bytes a run")


def _cost(campaign: Campaign) -> tuple[float, int]:
    """CPU seconds of training, evaluation, packing and writing of all runs; bytes of the result files."""
    with TemporaryDirectory() as folder:
        started = time.process_time()
        run_campaign(campaign, Path(folder) / "s", runner="local")
        seconds = time.process_time() - started
        return seconds, sum(path.stat().st_size for path in (Path(folder) / "s" / "results").iterdir())


if __name__ == "__main__":
    main()
