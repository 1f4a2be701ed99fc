"""Ilyas et al. (ICML 2022): datamodels, which predict a test example's margin from the subset."""

from benchmarks.replicate.lab import Lab, Outcome

TESTS = 200
"""Test examples that a lasso is fitted for, one by one."""


def datamodels(lab: Lab) -> Outcome:
    """Rank correlation of predicted and actual margins over runs that were not used for the fit."""
    view = lab.train(record={"epochs": "final", "margins": True, "presentations": False})
    fits = {method: view.datamodels(tests=slice(0, TESTS), method=method) for method in ("lasso", "ridge")}
    lasso, ridge = fits["lasso"].score, fits["ridge"].score
    influence = fits["lasso"].influence_score
    named = {"lasso": lasso, "ridge": ridge, "influence as weights": influence}
    said = [f"{name} {score.mean:.3f} ± {score.mean_se:.3f}" for name, score in named.items()]
    text = f"linear datamodeling score: {', '.join(said)}"
    holds = lasso.mean - 2 * lasso.mean_se > 0
    numbers = {name: float(score.mean) for name, score in named.items()}
    return lab.judged(text, holds, "margins of new subsets are predicted", numbers)
