"""Plans and runs campaigns: `orchestrator.run_campaign(campaign, store)`; `cli` is the `longtail` command."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.densities import Densities, estimate_densities
    from orchestrator.local_runner import LocalRunner
    from orchestrator.plan import plan_campaign
    from orchestrator.ray_runner import RayRunner
    from orchestrator.run import CampaignReport, run_campaign
    from orchestrator.status import campaign_status
    from orchestrator.verify import verify_store
    from workers.campaign_file import read_campaign

__all__ = [
    "CampaignReport",
    "Densities",
    "LocalRunner",
    "RayRunner",
    "campaign_status",
    "estimate_densities",
    "plan_campaign",
    "read_campaign",
    "run_campaign",
    "verify_store",
]

_MODULES = {
    "CampaignReport": "orchestrator.run",
    "Densities": "orchestrator.densities",
    "LocalRunner": "orchestrator.local_runner",
    "RayRunner": "orchestrator.ray_runner",
    "campaign_status": "orchestrator.status",
    "estimate_densities": "orchestrator.densities",
    "plan_campaign": "orchestrator.plan",
    "read_campaign": "workers.campaign_file",
    "run_campaign": "orchestrator.run",
    "verify_store": "orchestrator.verify",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line imports this package, and torch and ray take seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
