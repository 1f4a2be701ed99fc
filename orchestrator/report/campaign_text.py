"""Text of a report about its campaign: what was trained, number of runs, precision of estimates."""

from typing import Any

import numpy as np
import pandas as pd

from analysis import open_store
from analysis.report import Findings
from workers.campaign.campaign import PPM, Campaign
from workers.campaign.curriculum import Curriculum
from workers.campaign.noise import ImageNoise, LabelNoise
from workers.campaign.plural import count_text
from workers.campaign.recipe import AdamOptimizer, Augmentation, Muon, Optimizer, Recipe, Schedule
from workers.store import Store

_ACCURACIES = ("test_accuracy", "heldout_accuracy", "subset_accuracy")


def describe_campaign(store: Store) -> list[tuple[str, str]]:
    """(term, description) pairs of a store's campaign or import."""
    header, campaign = store.header, store.header.campaign
    sizes = f"{header.num_train:,} training and {count_text(header.num_test, 'test example')}"
    sizes += f" of {count_text(len(header.class_names), 'class', 'classes')}"
    data = ("Data set", f"{header.dataset}: {sizes}")
    if not isinstance(campaign, Campaign):
        return [data, ("Runs", f"imported ({campaign.experiment}); how they were trained is not known")]
    subsets = f"{campaign.subsets.design}, seed {campaign.subsets.seed}"
    remarks = {
        "Encoder": store.encoder_text or "",
        "Label noise": _noise(campaign.label_noise),
        "Image noise": _image_noise(campaign.image_noise),
    }
    return [
        data,
        ("Model", _model(campaign)),
        ("Recipe", recipe_text(campaign.recipe, header.precision)),
        *((term, text) for term, text in remarks.items() if text),
        ("Subsets", subsets),
        ("Identity", header.identity[:16]),
    ]


def recipe_text(recipe: Recipe, precision: str) -> str:
    """One sentence."""
    parts = [
        f"{count_text(recipe.epochs, 'epoch')} of minibatches of {recipe.batch_size}",
        *_optimizer(recipe.optimizer, f" ({_schedule(recipe.schedule)})"),
        *([_curriculum(recipe.curriculum)] if recipe.curriculum else []),
        *([f"Lookahead every {count_text(recipe.lookahead.every, 'update')}"] if recipe.lookahead else []),
        *([f"label smoothing {recipe.label_smoothing:g}"] if recipe.label_smoothing else []),
        _augmentation(recipe.augmentation),
        {"unit": "pixels scaled to 0 to 1", "standardize": "pixels standardized"}[recipe.input_scaling],
        precision,
    ]
    return ", ".join(parts)


def _optimizer(optimizer: Optimizer, schedule: str = "") -> list[str]:
    """The optimizer with its momentum and learning rate, weight decay, and what else it has."""
    name = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "muon": "Muon"}[optimizer.name]
    if not isinstance(optimizer, AdamOptimizer) and optimizer.momentum:
        name += f" with {'Nesterov ' if optimizer.nesterov else ''}momentum {optimizer.momentum:g}"
    parts = [f"{name}, learning rate {optimizer.learning_rate:g}{schedule}"]
    if optimizer.weight_decay:
        kind = "L2 penalty" if optimizer.name == "adam" else "weight decay"
        parts.append(f"{kind} {optimizer.weight_decay:g}")
    if isinstance(optimizer, Muon):
        return [*parts, f"other weights by {', '.join(_optimizer(optimizer.others))}"]
    if optimizer.norm_bias_factor != 1:
        parts.append(f"biases of norms at {optimizer.norm_bias_factor:g} times the rate")
    return parts


def final_runs(store: Store) -> pd.DataFrame:
    """The last row of each run, as `StoreView.runs`."""
    runs = open_store(store.uri).runs()
    return runs[runs["is_final"].astype(bool)]


def accuracies(store: Store, final: pd.DataFrame) -> list[dict[str, str]]:
    """A row for each ratio: runs, requested, diverged, and the mean ± standard deviation over runs of each accuracy.

    `final` as `final_runs`.
    """
    targets = {ratio_ppm / PPM: requested for ratio_ppm, requested in store.targets().items()}
    rows = []
    for ratio in sorted({*targets, *final["ratio"].unique().tolist()}):
        of_ratio = final[final["ratio"] == ratio]
        used = of_ratio[of_ratio["status"] != "diverged"]
        counts = {
            "runs": len(of_ratio),
            "requested": targets.get(ratio, len(of_ratio)),
            "diverged": len(of_ratio) - len(used),
        }
        means = {name: _mean(used[name].astype(float)) for name in _ACCURACIES}
        rows.append({"ratio": f"{ratio:g}", **{name: f"{count:,}" for name, count in counts.items()}, **means})
    return rows


def precision(findings: Findings) -> list[dict[str, str]]:
    """A row for mem and one for the C-score: examples with a value, runs, median and 90th percentile of the SE."""
    rows = []
    if findings.mem is not None:
        name = f"memorization at ratio {findings.ratio:g}"
        rows.append(_precision(name, findings.mem, findings.mem["n_in"] + findings.mem["n_out"]))
    if findings.cscore is not None:
        rows.append(_precision("C-score", findings.cscore, findings.cscore["n_out"]))
    return rows


def _precision(name: str, frame: pd.DataFrame, runs: pd.Series) -> dict[str, str]:
    valued = frame["se"].dropna()
    width = (frame["high"] - frame["low"])[frame["se"].notna()].median()
    median, most = np.quantile(valued, (0.5, 0.9)) if len(valued) else (np.nan, np.nan)
    few, many = int(runs.min()), int(runs.max())
    return {
        "estimate": name,
        "examples": f"{len(valued):,}",
        "runs": f"{few:,}" if few == many else f"{few:,} to {many:,}",
        "median": number(float(median), 4),
        "most": number(float(most), 4),
        "width": number(float(width), 3),
    }


def number(value: Any, digits: int = 2) -> str:
    """A number with a true minus sign; a dash where there is none."""
    if value is None or value != value:
        return "–"
    text = f"{value:.{digits}f}"
    text = text.lstrip("-") if float(text) == 0 else text
    return text.replace("-", "−")


def _mean(values: pd.Series) -> str:
    some = values.dropna()
    if some.empty:
        return "–"
    spread = f" ±\N{NO-BREAK SPACE}{100 * some.std():.2f}" if len(some) > 1 else ""
    return f"{100 * some.mean():.2f}{spread}"


def _model(campaign: Campaign) -> str:
    model = campaign.model
    plain = model.model_dump(mode="json", exclude={"name"})
    options = ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in plain.items())
    return f"{model.name} ({options})" if options else model.name


def _plain(value: Any) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value)


def _schedule(schedule: Schedule) -> str:
    plain = schedule.model_dump(mode="json", exclude_defaults=True)
    options = ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in plain.items() if name != "name")
    return f"{schedule.name}, {options}" if options else schedule.name


def _augmentation(augmentation: Augmentation) -> str:
    if not augmentation.changes_images:
        return "no augmentation"
    parts = [
        *(["alternating flips" if augmentation.flip == "alternating" else "flips"] if augmentation.flip else []),
        *([f"shifts of up to {augmentation.translate} pixels"] if augmentation.translate else []),
        *([f"cutout of {augmentation.cutout} pixels"] if augmentation.cutout else []),
    ]
    return " and ".join(parts)


def _curriculum(curriculum: Curriculum) -> str:
    parts = f"{curriculum.partitions} {'random' if curriculum.scores is None else 'ordered'} partitions"
    return f"{parts} in turns of {count_text(curriculum.epochs, 'epoch')}"


def _noise(noise: LabelNoise) -> str:
    if noise.file is not None:
        return "the training labels were given by a file, once for all runs"
    if not noise.fraction:
        return ""
    return f"{noise.fraction:.1%} of the training labels were replaced by another class, once for all runs"


def _image_noise(noise: ImageNoise) -> str:
    if not noise.fraction:
        return ""
    return f"noise of standard deviation {noise.sd:g} is in the pixels of {noise.fraction:.1%} of the training images"
