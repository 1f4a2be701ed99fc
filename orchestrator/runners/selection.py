"""Selects the runner for the options of a run."""

from orchestrator.runners.base import Runner
from orchestrator.runners.run_options import RunOptions


def make_runner(options: RunOptions) -> Runner:
    """`LocalRunner` or `RayRunner`; Ray is imported for the latter alone. Raises CampaignError for a missing GPU."""
    if options.runner == "local":
        from orchestrator.runners.local import LocalRunner

        return LocalRunner(options.device)
    from orchestrator.runners.ray.runner import RayRunner

    return RayRunner(options)
