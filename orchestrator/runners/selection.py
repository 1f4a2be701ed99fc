"""Selects the runner for the options of a run."""

from orchestrator.runners.base import Runner
from orchestrator.runners.run_options import RunOptions


def make_runner(options: RunOptions) -> Runner:
    """`AutoRunner`, `LocalRunner` or `RayRunner`; Ray is imported for the last alone. CampaignError: no GPU here."""
    if options.runner == "auto":
        from orchestrator.runners.auto import AutoRunner

        return AutoRunner(options)
    if options.runner == "local":
        from orchestrator.runners.local import LocalRunner

        return LocalRunner(options.device)
    from orchestrator.runners.ray.runner import RayRunner

    return RayRunner(options)
