"""Maini et al. (ICML 2023): gradients, rewound and retrained layers, units, example-tied dropout."""

from typing import Any

from analysis.estimators.localization.summary import localize
from benchmarks.replicate.lab import Lab, Outcome, Record, records

ALMOST_ALL = 0.9
"""Of the noisy labels that are predicted at the end of training."""
P_GEN, P_MEM = 0.25, 0.1
"""Of example-tied dropout, at a width at which a tenth of the channels is one or more."""


def gradients(lab: Lab) -> Outcome:
    """Cosine of clean and noisy gradients by layer, and the norms' ratio, means over all epochs."""
    rows = sorted(_probe(lab, gradients=True)["gradient_means"], key=lambda row: row["cosine"])
    ratios = [row["norm_ratio"] for row in rows]
    ends = " to ".join(f"{_cell(row, 'cosine')} ({row['layer']})" for row in (rows[0], rows[-1]))
    text = f"cosine {ends}; norm of noisy over that of clean gradients {min(ratios):.2f} to {max(ratios):.2f}"
    opposed = all(row["cosine"] + 2 * row["cosine_se"] < 0 for row in rows)
    numbers = {str(row["layer"]): float(row["cosine"]) for row in rows}
    return lab.judged(text, opposed, "gradients are opposed in every layer", numbers)


def rewinding(lab: Lab) -> Outcome:
    """Noisy accuracy with one layer rewound to a fifth of the epochs, statistics re-estimated."""
    epochs = lab.size.epochs or 50
    every = max(1, epochs // 5)
    found = _probe(lab, rewinding={"every": every})["rewinding"]
    noisy = [row for row in found if (row["rule"], row["group"]) == ("reestimated", "noisy")]
    final = max(row["accuracy"] for row in noisy if row["epoch"] == max(other["epoch"] for other in noisy))
    rewound = sorted((row for row in noisy if row["epoch"] == every), key=lambda row: row["accuracy"])
    kept = sum(row["accuracy"] >= ALMOST_ALL * final for row in rewound)
    text = (
        f"rewound to epoch {every} of {epochs}, {kept} of {len(rewound)} layers keep {ALMOST_ALL:.0%} of the noisy "
        f"labels; least {_cell(rewound[0], 'accuracy')} ({rewound[0]['layer']})"
    )
    numbers = {str(row["layer"]): float(row["accuracy"]) for row in rewound}
    return lab.judged(text, kept > len(rewound) / 2, "most layers can be rewound", numbers)


def retraining(lab: Lab) -> Outcome:
    """Noisy accuracy after one layer was trained anew on clean examples alone."""
    found = _probe(lab, retraining={"epochs": max(2, (lab.size.epochs or 50) * 2 // 5)})["retraining"]
    noisy = [row for row in found if row["group"] == "noisy"]
    last = max(row["epoch"] for row in noisy)
    after = sorted((row for row in noisy if row["epoch"] == last), key=lambda row: row["accuracy"])
    high = sum(row["accuracy"] > 0.5 for row in after)
    ends = " to ".join(f"{_cell(row, 'accuracy')} ({row['layer']})" for row in (after[0], after[-1]))
    text = f"noisy labels predicted after retraining: over half for {high} of {len(after)} layers, {ends}"
    numbers = {str(row["layer"]): float(row["accuracy"]) for row in after}
    return lab.judged(text, high > len(after) / 2, "most layers are redundant", numbers)


def neurons(lab: Lab) -> Outcome:
    """Units to set to 0 until a prediction flips, of noisy and of clean examples."""
    most = {"examples": 200 if lab.size.examples is None else 40}
    found = _probe(lab, neurons=most | {"batch_size": lab.size.batch_size or 512})
    rows = {row["group"]: row for row in found["neurons"] if row["group"] in ("noisy", "clean")}
    auc = found["neurons_detection"][0]
    said = [
        f"{group} median {row['median']:.1f} units, {row['under_10']:.0%} need fewer than 10"
        for group, row in rows.items()
    ]
    fewer = rows["noisy"]["median"] < rows["clean"]["median"]
    numbers = {str(group): float(row["median"]) for group, row in rows.items()}
    text = f"{'; '.join(said)}; AUC {_cell(auc, 'auc')}"
    return lab.judged(text, fewer, "noisy examples need fewer units", numbers | {"auc": float(auc["auc"])})


def tied_dropout(lab: Lab) -> Outcome:
    """Accuracies with the memorization units, and after they were dropped."""
    model: dict[str, Any] = {"name": "resnet9", "width": 16 if lab.size.examples else 64}
    model["stage_dropout"] = {"name": "example-tied", "p_gen": P_GEN, "p_mem": P_MEM}
    rows = {(row["mode"], row["group"]): row for row in _probe(lab, model=model, dropout=True)["dropout"]}
    said = [
        f"{group} {_cell(rows['own', group], 'accuracy')} to {_cell(rows['drop', group], 'accuracy')}"
        for group in ("noisy", "clean")
    ]
    noisy, clean = (float(rows["drop", group]["accuracy"]) for group in ("noisy", "clean"))
    text = f"with own units and after dropping: {'; '.join(said)}"
    holds = noisy < 0.2 and clean > noisy
    return lab.judged(text, holds, "noisy labels are forgotten", {"noisy": noisy, "clean": clean})


def _probe(lab: Lab, model: dict[str, Any] | None = None, **probes: Any) -> dict[str, list[Record]]:
    """Means over runs of one probe of the row's preset, whose others are left out: rows of its tables."""
    repetitions = lab.size.runs or 3
    changes: dict[str, Any] = {} if model is None else {"model": model}
    found = localize(lab.train(record={"probes": {"repetitions": repetitions, **probes}}, **changes).store)
    return {name: records(frame) for name, frame in found.tables.items()}


def _cell(row: Record, name: str) -> str:
    return f"{row[name]:.2f} ± {row[f'{name}_se']:.2f}"
