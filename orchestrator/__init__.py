"""Plans and runs campaigns: `orchestrator.run_campaign(campaign, store)`; `cli` is the `longtail` command."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.campaigns.campaign_report import CampaignReport
    from orchestrator.campaigns.plan import plan_campaign
    from orchestrator.campaigns.run import run_campaign
    from orchestrator.runners.local import LocalRunner
    from orchestrator.runners.ray.runner import RayRunner
    from orchestrator.runners.run_options import RunOptions
    from orchestrator.store_ops.density import Densities, estimate_densities
    from orchestrator.store_ops.features import features
    from orchestrator.store_ops.replay import replay
    from orchestrator.store_ops.status import campaign_status
    from orchestrator.store_ops.verify import verify_store
    from workers.campaign.yaml_io import read_campaign
    from workers.datasets.feature_file import write_features
    from workers.datasets.run_features import RunFeatures
    from workers.training.replay import Replay

__all__ = [
    "CampaignReport",
    "Densities",
    "LocalRunner",
    "RayRunner",
    "Replay",
    "RunFeatures",
    "RunOptions",
    "campaign_status",
    "estimate_densities",
    "features",
    "plan_campaign",
    "read_campaign",
    "replay",
    "run_campaign",
    "verify_store",
    "write_features",
]

_MODULES = {
    "CampaignReport": "orchestrator.campaigns.campaign_report",
    "Densities": "orchestrator.store_ops.density",
    "LocalRunner": "orchestrator.runners.local",
    "RayRunner": "orchestrator.runners.ray.runner",
    "Replay": "workers.training.replay",
    "RunFeatures": "workers.datasets.run_features",
    "RunOptions": "orchestrator.runners.run_options",
    "campaign_status": "orchestrator.store_ops.status",
    "estimate_densities": "orchestrator.store_ops.density",
    "features": "orchestrator.store_ops.features",
    "plan_campaign": "orchestrator.campaigns.plan",
    "read_campaign": "workers.campaign.yaml_io",
    "replay": "orchestrator.store_ops.replay",
    "run_campaign": "orchestrator.campaigns.run",
    "verify_store": "orchestrator.store_ops.verify",
    "write_features": "workers.datasets.feature_file",
}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line imports this package, and torch and ray take seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from workers.common.extras import missing_extras_explained

    with missing_extras_explained():
        return getattr(import_module(_MODULES[name]), name)
