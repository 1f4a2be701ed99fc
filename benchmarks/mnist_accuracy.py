"""Mean accuracy of the published mnist-cscore recipe, beside that of its JAX script (pluskid/structural-regularity).

    python benchmarks/mnist_accuracy.py --root FOLDER_WITH_MNIST --store STORE

Trains the `mnist-cscore` preset, 8 runs at each ratio given, and prints held-out and subset accuracy as means over the
runs. Resumes where the store has runs already. The peer's figures are means over 8 runs of its script on a 2-core CPU.
"""

import argparse
import platform
import time
from importlib.metadata import version
from typing import cast

import analysis
from orchestrator import run_campaign
from orchestrator.presets import preset_text
from workers.campaign.campaign import Campaign
from workers.campaign.yaml_io import check_campaign, parse_campaign

PEER_HELD_OUT = {
    0.1: 0.9526,
    0.2: 0.9671,
    0.3: 0.9727,
    0.4: 0.9747,
    0.5: 0.9761,
    0.6: 0.9787,
    0.7: 0.9783,
    0.8: 0.9802,
    0.9: 0.9808,
}
PEER_SUBSET = {
    0.1: 1.0000,
    0.2: 1.0000,
    0.3: 0.9998,
    0.4: 0.9994,
    0.5: 0.9990,
    0.6: 0.9991,
    0.7: 0.9983,
    0.8: 0.9985,
    0.9: 0.9986,
}


def campaign(root: str, ratios: list[float], repetitions: int) -> Campaign:
    """The preset with other ratios and repetitions."""
    document = parse_campaign(preset_text("mnist-cscore")).model_dump(mode="json")
    document["dataset"]["root"] = root
    document["subsets"].update(ratios=ratios, repetitions=repetitions)
    return check_campaign(document)


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="folder that holds MNIST/")
    parser.add_argument("--store", required=True)
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.1, 0.5, 0.9])
    parser.add_argument("--repetitions", type=int, default=8)
    args = parser.parse_args()
    started = time.perf_counter()
    report = run_campaign(
        campaign(args.root, args.ratios, args.repetitions), args.store, runner="ray", gpus_per_worker=0
    )
    seconds = time.perf_counter() - started
    runs = analysis.open_store(args.store).runs()
    print(f"{report.progress.trained} runs trained in {seconds:.0f} s, {report.progress.workers} workers")
    print(f"Python {platform.python_version()}, torch {version('torch')}, {platform.machine()}")
    print("| ratio | runs | held out | peer | difference | sd over runs | subset | peer | seconds a run |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for key, at in runs.groupby("ratio"):
        ratio = cast(float, key)
        held_out, subset = at["heldout_accuracy"], at["subset_accuracy"]
        print(
            f"| {ratio} | {len(at)} | {held_out.mean():.4f} | {PEER_HELD_OUT[ratio]:.4f} "
            f"| {held_out.mean() - PEER_HELD_OUT[ratio]:+.4f} | {held_out.std():.4f} "
            f"| {subset.mean():.4f} | {PEER_SUBSET[ratio]:.4f} | {at['seconds'].median():.1f} |"
        )


if __name__ == "__main__":
    main()
