"""Longtail: which examples a model memorizes, which training examples matter to which others, which labels look wrong.

    import longtail

    store = longtail.open_store("demo-store")
    store.memorization()

Every public name is one of this package, and its module is imported when the name is first used.
"""

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from analysis import (
        Agreement as Agreement,
    )
    from analysis import (
        Datamodels as Datamodels,
    )
    from analysis import (
        ExampleScore as ExampleScore,
    )
    from analysis import (
        Frame as Frame,
    )
    from analysis import (
        Groups as Groups,
    )
    from analysis import (
        PackedBits as PackedBits,
    )
    from analysis import (
        RatioBits as RatioBits,
    )
    from analysis import (
        RatioCounts as RatioCounts,
    )
    from analysis import (
        RatioOutputs as RatioOutputs,
    )
    from analysis import (
        StoreCounts as StoreCounts,
    )
    from analysis import (
        StoreScores as StoreScores,
    )
    from analysis import (
        StoreView as StoreView,
    )
    from analysis import (
        average_interval as average_interval,
    )
    from analysis import (
        class_summary as class_summary,
    )
    from analysis import (
        collect_proxies as collect_proxies,
    )
    from analysis import (
        compare as compare,
    )
    from analysis import (
        consistency_profile as consistency_profile,
    )
    from analysis import (
        count_first_runs as count_first_runs,
    )
    from analysis import (
        count_runs as count_runs,
    )
    from analysis import (
        cscore as cscore,
    )
    from analysis import (
        difference_interval as difference_interval,
    )
    from analysis import (
        diverged_bounds as diverged_bounds,
    )
    from analysis import (
        diverged_notes as diverged_notes,
    )
    from analysis import (
        estimate_forgetting as estimate_forgetting,
    )
    from analysis import (
        estimate_memorization as estimate_memorization,
    )
    from analysis import (
        estimate_reliability as estimate_reliability,
    )
    from analysis import (
        estimate_training_statistics as estimate_training_statistics,
    )
    from analysis import (
        expected_se as expected_se,
    )
    from analysis import (
        feldman_zhang_bound as feldman_zhang_bound,
    )
    from analysis import (
        fit_datamodels as fit_datamodels,
    )
    from analysis import (
        forgetting_agreement as forgetting_agreement,
    )
    from analysis import (
        forgetting_summary as forgetting_summary,
    )
    from analysis import (
        group_examples as group_examples,
    )
    from analysis import (
        group_profiles as group_profiles,
    )
    from analysis import (
        influence_discoveries as influence_discoveries,
    )
    from analysis import (
        influence_matrix as influence_matrix,
    )
    from analysis import (
        influence_pairs as influence_pairs,
    )
    from analysis import (
        influence_top as influence_top,
    )
    from analysis import (
        influential_pairs as influential_pairs,
    )
    from analysis import (
        largest_unit_variance as largest_unit_variance,
    )
    from analysis import (
        learning_curves as learning_curves,
    )
    from analysis import (
        mean_interval as mean_interval,
    )
    from analysis import (
        most_examples_se as most_examples_se,
    )
    from analysis import (
        noise_curves as noise_curves,
    )
    from analysis import (
        noise_detection as noise_detection,
    )
    from analysis import (
        open_store as open_store,
    )
    from analysis import (
        pack_runs as pack_runs,
    )
    from analysis import (
        plot as plot,
    )
    from analysis import (
        proxy_agreement as proxy_agreement,
    )
    from analysis import (
        rank_suspects as rank_suspects,
    )
    from analysis import (
        read_example_scores as read_example_scores,
    )
    from analysis import (
        read_outputs as read_outputs,
    )
    from analysis import (
        removal_curve as removal_curve,
    )
    from analysis import (
        runs_needed as runs_needed,
    )
    from analysis import (
        se_of_runs as se_of_runs,
    )
    from analysis import (
        unit_variance as unit_variance,
    )
    from analysis import (
        without_empty_groups as without_empty_groups,
    )
    from analysis import (
        write_estimates as write_estimates,
    )
    from analysis import (
        write_influence_matrix as write_influence_matrix,
    )
    from analysis import (
        write_removal as write_removal,
    )
    from orchestrator import (
        CampaignReport as CampaignReport,
    )
    from orchestrator import (
        Densities as Densities,
    )
    from orchestrator import (
        LocalRunner as LocalRunner,
    )
    from orchestrator import (
        RayRunner as RayRunner,
    )
    from orchestrator import (
        campaign_status as campaign_status,
    )
    from orchestrator import (
        estimate_densities as estimate_densities,
    )
    from orchestrator import (
        plan_campaign as plan_campaign,
    )
    from orchestrator import (
        run_campaign as run_campaign,
    )
    from orchestrator import (
        verify_store as verify_store,
    )
    from workers.campaign.campaign import (
        Campaign as Campaign,
    )
    from workers.campaign.yaml_io import (
        read_campaign as read_campaign,
    )
    from workers.datasets import (
        Dataset as Dataset,
    )
    from workers.datasets import (
        load_dataset as load_dataset,
    )
    from workers.errors import (
        CampaignError as CampaignError,
    )
    from workers.errors import (
        CommandError as CommandError,
    )
    from workers.errors import (
        ConflictError as ConflictError,
    )
    from workers.errors import (
        DamagedDataError as DamagedDataError,
    )
    from workers.errors import (
        DamagedFileError as DamagedFileError,
    )
    from workers.errors import (
        DataError as DataError,
    )
    from workers.errors import (
        EstimateError as EstimateError,
    )
    from workers.errors import (
        LongtailError as LongtailError,
    )
    from workers.errors import (
        MissingFileError as MissingFileError,
    )
    from workers.errors import (
        ModelError as ModelError,
    )
    from workers.errors import (
        NoEstimateError as NoEstimateError,
    )
    from workers.errors import (
        NoStoreError as NoStoreError,
    )
    from workers.errors import (
        ReadOnlyError as ReadOnlyError,
    )
    from workers.errors import (
        StoreError as StoreError,
    )
    from workers.errors import (
        StoreMismatchError as StoreMismatchError,
    )
    from workers.errors import (
        TooManyPairsError as TooManyPairsError,
    )

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "analysis": (
        "Agreement",
        "Datamodels",
        "ExampleScore",
        "Frame",
        "Groups",
        "PackedBits",
        "RatioBits",
        "RatioCounts",
        "RatioOutputs",
        "StoreCounts",
        "StoreScores",
        "StoreView",
        "average_interval",
        "class_summary",
        "collect_proxies",
        "compare",
        "consistency_profile",
        "count_first_runs",
        "count_runs",
        "cscore",
        "difference_interval",
        "diverged_bounds",
        "diverged_notes",
        "estimate_forgetting",
        "estimate_memorization",
        "estimate_reliability",
        "estimate_training_statistics",
        "expected_se",
        "feldman_zhang_bound",
        "fit_datamodels",
        "forgetting_agreement",
        "forgetting_summary",
        "group_examples",
        "group_profiles",
        "influence_discoveries",
        "influence_matrix",
        "influence_pairs",
        "influence_top",
        "influential_pairs",
        "largest_unit_variance",
        "learning_curves",
        "mean_interval",
        "most_examples_se",
        "noise_curves",
        "noise_detection",
        "open_store",
        "pack_runs",
        "plot",
        "proxy_agreement",
        "rank_suspects",
        "read_example_scores",
        "read_outputs",
        "removal_curve",
        "runs_needed",
        "se_of_runs",
        "unit_variance",
        "without_empty_groups",
        "write_estimates",
        "write_influence_matrix",
        "write_removal",
    ),
    "orchestrator": (
        "CampaignReport",
        "Densities",
        "LocalRunner",
        "RayRunner",
        "campaign_status",
        "estimate_densities",
        "plan_campaign",
        "run_campaign",
        "verify_store",
    ),
    "workers.campaign.campaign": ("Campaign",),
    "workers.campaign.yaml_io": ("read_campaign",),
    "workers.datasets": ("Dataset", "load_dataset"),
    "workers.errors": (
        "CampaignError",
        "CommandError",
        "ConflictError",
        "DamagedDataError",
        "DamagedFileError",
        "DataError",
        "EstimateError",
        "LongtailError",
        "MissingFileError",
        "ModelError",
        "NoEstimateError",
        "NoStoreError",
        "ReadOnlyError",
        "StoreError",
        "StoreMismatchError",
        "TooManyPairsError",
    ),
}
"""Public names by the module that has them."""
_MODULES: Final = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "Agreement",
    "Campaign",
    "CampaignError",
    "CampaignReport",
    "CommandError",
    "ConflictError",
    "DamagedDataError",
    "DamagedFileError",
    "DataError",
    "Datamodels",
    "Dataset",
    "Densities",
    "EstimateError",
    "ExampleScore",
    "Frame",
    "Groups",
    "LocalRunner",
    "LongtailError",
    "MissingFileError",
    "ModelError",
    "NoEstimateError",
    "NoStoreError",
    "PackedBits",
    "RatioBits",
    "RatioCounts",
    "RatioOutputs",
    "RayRunner",
    "ReadOnlyError",
    "StoreCounts",
    "StoreError",
    "StoreMismatchError",
    "StoreScores",
    "StoreView",
    "TooManyPairsError",
    "average_interval",
    "campaign_status",
    "class_summary",
    "collect_proxies",
    "compare",
    "consistency_profile",
    "count_first_runs",
    "count_runs",
    "cscore",
    "difference_interval",
    "diverged_bounds",
    "diverged_notes",
    "estimate_densities",
    "estimate_forgetting",
    "estimate_memorization",
    "estimate_reliability",
    "estimate_training_statistics",
    "expected_se",
    "feldman_zhang_bound",
    "fit_datamodels",
    "forgetting_agreement",
    "forgetting_summary",
    "group_examples",
    "group_profiles",
    "influence_discoveries",
    "influence_matrix",
    "influence_pairs",
    "influence_top",
    "influential_pairs",
    "largest_unit_variance",
    "learning_curves",
    "load_dataset",
    "mean_interval",
    "most_examples_se",
    "noise_curves",
    "noise_detection",
    "open_store",
    "pack_runs",
    "plan_campaign",
    "plot",
    "proxy_agreement",
    "rank_suspects",
    "read_campaign",
    "read_example_scores",
    "read_outputs",
    "removal_curve",
    "run_campaign",
    "runs_needed",
    "se_of_runs",
    "unit_variance",
    "verify_store",
    "without_empty_groups",
    "write_estimates",
    "write_influence_matrix",
    "write_removal",
]


def __getattr__(name: str) -> Any:
    """Import on first use: torch and Ray take seconds."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _check_not_hidden() -> None:
    """Raise ImportError where a file of the user's, such as analysis.py beside a script, hides a package of ours."""
    ours = Path(__file__).resolve().parents[1]
    for name in ("orchestrator", "analysis", "workers"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin is not None else None
        if found != ours / name / "__init__.py":
            place = found or f"a folder {name} on the path"
            raise ImportError(
                f"{place} hides Longtail's package {name}: rename it, or move it out of the script's folder"
            )


_check_not_hidden()
