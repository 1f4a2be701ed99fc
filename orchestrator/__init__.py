"""Plans and runs campaigns: `orchestrator.run_campaign(campaign, store)`; `cli` is the `longtail` command."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.local_runner import LocalRunner
    from orchestrator.ray_runner import RayRunner
    from orchestrator.run import CampaignReport, run_campaign
    from orchestrator.status import campaign_status

__all__ = ["CampaignReport", "LocalRunner", "RayRunner", "campaign_status", "run_campaign"]

_MODULES = {
    "CampaignReport": "run",
    "LocalRunner": "local_runner",
    "RayRunner": "ray_runner",
    "campaign_status": "status",
    "run_campaign": "run",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line imports this package, and torch and ray take seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
