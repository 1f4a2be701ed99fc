"""Feldman & Zhang (NeurIPS 2020): the selected pairs, their agreement, and the removal of their training side."""

from analysis.view.store_view import StoreView
from benchmarks.replicate.lab import Lab, Outcome, Record, records

NOTHING = 1_000_000
"""More pairs than an example has: the rule removes none, which is the control on all examples."""


def pairs(lab: Lab) -> Outcome:
    """The published selection of pairs, and how many test examples are in one pair only.

    The number of pairs depends on that of runs; halves of the runs show how much of the selection is luck.
    """
    view = lab.train()
    rows = {row["quantity"]: row for row in records(view.pair_uniqueness())}
    halves = _halves(view)[-1]
    discovered = len(view.discoveries(fdr=0.05))
    counted = [
        f"{rows[name]['value']:,.0f} ± {rows[name]['se']:.0f}"
        for name in ("pairs", "test_examples", "unique_test_examples")
    ]
    text = (
        f"{counted[0]} pairs over {counted[1]} test examples, {counted[2]} of them in one pair only; Jaccard index of "
        f"two halves of the runs {halves['jaccard']:.2f} ± {halves['jaccard_sd']:.2f}; {discovered:,} discoveries at 5%"
    )
    numbers = {str(name): float(row["value"]) for name, row in rows.items()} | {"discoveries": float(discovered)}
    share = rows["unique_share"]
    if not (share["low"] > 0.5 or share["high"] < 0.5):
        return Outcome(text, "undecided", "about half of the test examples are in one pair only", numbers)
    return lab.judged(text, share["low"] > 0.5, "most test examples are in one pair only", numbers)


def pair_agreement(lab: Lab) -> Outcome:
    """Jaccard index of the pairs that two halves of the runs select, by the number of runs in each half."""
    rows = _halves(lab.train())
    steps = [f"{row['runs_per_half']}: {row['jaccard']:.2f} ± {row['jaccard_sd']:.2f}" for row in rows]
    last = rows[-1]
    rises = last["jaccard"] > rows[0]["jaccard"]
    numbers = {str(row["runs_per_half"]): float(row["jaccard"]) for row in rows}
    text = f"Jaccard index by runs in each half: {', '.join(steps[-3:])}; {last['selected']:.0f} pairs in each"
    return lab.judged(text, rises, "the selection settles as runs are added", numbers)


def _halves(view: StoreView) -> list[Record]:
    reliability = view.reliability()
    return records(reliability[reliability["estimate"] == "influential_pairs"])


def pair_removal(lab: Lab) -> Outcome:
    """Accuracy without the training side of the pairs, on all test examples and on those of the pairs."""
    view = lab.train()
    found = view.influential_pairs()
    subsets = {
        "design": "explicit",
        "scores": {"file": lab.keep(view.training_side(found)[["example_id", "pairs"]], "pairs"), "column": "pairs"},
        "drop": [{"at_least": 1}, {"at_least": NOTHING}, "random"],
        "repetitions": lab.size.removal_runs,
        "seed": 3,
    }
    trained = lab.train(subsets=subsets, record={"epochs": "final", "presentations": False})
    frame = trained.removal_on_tests(found["test_example_id"].unique())
    by_rule = frame[(frame["control"] == "all examples") & (frame["threshold"] == 1)]
    rows = {row["test_examples"]: row for row in records(by_rule)}
    chance = records(
        frame[(frame["control"] == "random") & (frame["threshold"] == 1) & (frame["test_examples"] == "all")]
    )[0]
    lost, on_pairs = rows["all"], rows["selected"]
    text = (
        f"{lost['examples_removed']:,} examples removed: test accuracy {lost['control_accuracy']:.2%} to "
        f"{lost['accuracy']:.2%} (lost {_points(lost)}); on the {on_pairs['count']:,} test examples of the pairs "
        f"{on_pairs['control_accuracy']:.1%} to {on_pairs['accuracy']:.1%}, {on_pairs['share']:.0%} of the whole; "
        f"more than random ones {_points(chance)}"
    )
    numbers = {
        "all": float(lost["difference"]),
        "pairs": float(on_pairs["difference"]),
        "share": float(on_pairs["share"]),
    }
    if chance["difference_low"] <= 0 <= chance["difference_high"]:
        return Outcome(text, "undecided", "limits of the difference from random removal contain 0", numbers)
    holds = chance["difference"] > 0 and on_pairs["difference"] > lost["difference"]
    return lab.judged(text, holds, "it costs more than chance, most on the test examples of the pairs", numbers)


def _points(row: Record) -> str:
    ends = f"{100 * row['difference_low']:+.2f} to {100 * row['difference_high']:+.2f}"
    return f"{100 * row['difference']:+.2f} points ({ends})"
