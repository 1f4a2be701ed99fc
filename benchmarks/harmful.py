"""Harmful training examples of digits, confirmed by removal: influence says which, new models say whether.

    python -m benchmarks.harmful FOLDER --runs 2000 --seeds 20

Trains --runs models on random halves of digits, lists the pairs of negative influence at a false discovery rate of 5%,
and trains --seeds models without their training examples, as many without as many random ones, and twice as many with
nothing removed. Prints the accuracy of each on the test examples of the pairs and on the others, with 95% limits over
runs. The models of the second step are no part of the first. FOLDER keeps both stores; run again to resume.
"""

import argparse
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import longtail
from workers.campaign.yaml_io import check_campaign

NOTHING = 1_000_000
"""More pairs than an example has: a rule that removes none."""
MODEL = {
    "dataset": {"name": "digits"},
    "model": {"name": "mlp", "hidden": [32]},
    "recipe": {
        "epochs": 10,
        "batch_size": 64,
        "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    },
}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--fdr", type=float, default=0.05)
    args = parser.parse_args()
    subsets = {"ratios": [0.5], "repetitions": args.runs, "seed": 1}
    halves = _train(args.folder / "halves", subsets)
    pairs = halves.discoveries(direction="harmful", fdr=args.fdr)
    examples, tests = pairs["example_id"].unique(), pairs["test_example_id"].unique()
    print(
        f"{len(pairs)} harmful pairs at a false discovery rate of {args.fdr:g} from {args.runs} runs: "
        f"{len(examples)} training examples, {len(tests)} test examples, mean influence {pairs['infl'].mean():.3f}"
    )
    if not len(pairs):
        return
    side = args.folder / "harmful.parquet"
    halves.training_side(pairs).to_parquet(side)
    removal = {
        "design": "explicit",
        "scores": {"file": str(side), "column": "pairs"},
        "drop": [{"at_least": 1}, {"at_least": NOTHING}, "random"],
        "repetitions": 2 * args.seeds,  # at each share kept: half without them, half without random ones
        "seed": 3,
    }
    frame = _train(args.folder / "removal", removal).removal_on_tests(tests)
    removed = frame[(frame["threshold"] == 1) & (frame["rule"] != "random")]
    for row in removed.to_dict("records"):
        print(_line(row))


def _train(store: Path, subsets: dict[str, object]) -> longtail.StoreView:
    campaign = check_campaign({**MODEL, "subsets": subsets}, store.name)
    longtail.run_campaign(campaign, store, runner="local")
    return longtail.open_store(store)


def _line(row: Mapping[Hashable, Any]) -> str:
    """Accuracies in percent; how much higher they are than the control's, in points, with limits."""
    shares = (f"{100 * row[name]:.1f}%" for name in ("control_accuracy", "accuracy"))
    gain = (
        f"{-100 * row['difference']:+.2f} ({-100 * row['difference_high']:+.2f} to {-100 * row['difference_low']:+.2f})"
    )
    return (
        f"{row['count']} test examples ({row['test_examples']}), {row['examples_removed']} training examples removed, "
        f"{row['runs']} models, beside {row['control']}: {' to '.join(shares)}, {gain} points"
    )


if __name__ == "__main__":
    main()
