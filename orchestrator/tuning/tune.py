"""Recipe search: the cheapest recipe that fits a campaign's subsets and is as accurate as any on held-out examples.

Trials train on subsets of their own, drawn from another seed than the campaign's: no run of the campaign is looked at,
so choosing a recipe by held-out accuracy makes nothing that the campaign will estimate look better than it is. The test
set takes no part, except at ratio 1, which holds nothing else out. For the same reason what is said of the recipe
chosen is measured anew, on fresh subsets: the best of many is better by luck too.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.campaigns.preflight import check_campaign_fits, resolve_tables, training_labels
from orchestrator.runners.run_options import ClusterOptions
from orchestrator.tuning.candidates import draw_candidates, is_open_ended, tuning_seed, value_mistakes
from orchestrator.tuning.record import SearchRecord
from orchestrator.tuning.session import SearchProgress, SearchReport, Session
from orchestrator.tuning.settings import Search
from orchestrator.tuning.space import Space, check_space, default_space, read_space, with_values
from workers.campaign.campaign import Campaign, ratio_to_ppm
from workers.campaign.yaml_io import check_campaign
from workers.datasets import Dataset, load_dataset
from workers.datasets.label_table import labels_sha256
from workers.errors import CampaignError, LongtailError
from workers.subsets.draw import subset_size


def search_recipe(
    campaign: Campaign,
    results: Path,
    search: Search | None = None,
    cluster: ClusterOptions | None = None,
    on_progress: Callable[[SearchProgress], None] = lambda progress: None,
    on_data: Callable[[Dataset], None] = lambda dataset: None,
) -> SearchReport:
    """Search a campaign's recipe; trials are kept in the folder `results`, where the same search goes on.

    Raises CampaignError for mistakes in campaign, space or settings, before anything is written; DataError, ModelError,
    ClusterError; LongtailError where the folder cannot be written. KeyboardInterrupt passes through.
    """
    search, cluster = search or Search(), cluster or ClusterOptions()
    dataset = load_dataset(campaign.dataset)
    on_data(dataset)
    if campaign.subsets.thresholds or campaign.subsets.masks:
        campaign, _ = resolve_tables(campaign, dataset)
    check_campaign_fits(campaign, dataset)
    if campaign.label_noise.file is not None:
        campaign = campaign.with_label_noise(sha256=labels_sha256(training_labels(campaign, dataset)))
    tuning = tuning_campaign(campaign, search, dataset)
    smallest = min(subset_size(ratio_ppm, dataset.num_train) for ratio_ppm in tuning.subsets.ratios_ppm)
    space, max_epochs = _space(tuning, search, smallest, dataset)
    limits = {"max_epochs": max_epochs, "smallest_subset": smallest}
    candidates = draw_candidates(tuning, space, trials=search.trials, seed=search.seed, **limits)
    record = SearchRecord(results)
    description = {
        "campaign": tuning.science() | {"fingerprint": dataset.fingerprint, "ratios": list(tuning.subsets.ratios)},
        "space": {field: domain.plain() for field, domain in space.items()},
        "search": {"fit": search.fit, "runs": search.runs, "seed": search.seed, "max_epochs": max_epochs}
        | {"early_stopping": search.early_stopping},
    }
    with record.opened(description):
        return Session(campaign, tuning, search, cluster, record, on_progress).run(candidates, list(space), max_epochs)


def tuning_campaign(campaign: Campaign, search: Search, dataset: Dataset) -> Campaign:
    """The campaign of the trials: a seed of their own, few runs, the ratios to try, and no probes.

    Raises CampaignError where nothing would be held out.
    """
    own = campaign.subsets.ratios
    document = campaign.with_absolute_paths().without_scores().model_dump(mode="json")
    document["subsets"] |= {
        "ratios": sorted(search.ratios or {min(own), max(own)}),
        "repetitions": search.runs,
        "seed": tuning_seed(campaign, search.seed),
    }
    document["record"] = {"epochs": "final"}
    tuning = check_campaign(document)
    if ratio_to_ppm(1.0) in tuning.subsets.ratios_ppm and not dataset.num_test:
        raise CampaignError("subsets.ratios: ratio 1 holds out no example, and the data set has no test examples")
    return tuning


def _space(tuning: Campaign, search: Search, smallest: int, dataset: Dataset) -> tuple[Space, int]:
    """The space, checked against the campaign's fields, and the most epochs."""
    own = tuning.recipe.epochs
    if search.space is None:
        max_epochs = search.max_epochs or 2 * own
        space, source = default_space(tuning, max_epochs, smallest), "default space"
    else:
        space, source = read_space(search.space), str(search.space)
        epoch_values = space["recipe.epochs"].values if "recipe.epochs" in space else ()
        max_epochs = search.max_epochs or max([2 * own, *(value for value in epoch_values if type(value) is int)])
        check_space(space, source, lambda values: _mistakes(tuning, values, dataset))
        if epoch_values and max(epoch_values) > max_epochs:
            got = max(epoch_values)
            raise CampaignError(f"{source}: recipe.epochs: must be at most --max-epochs {max_epochs}, got {got}")
        if epoch_values and "recipe.schedule" not in space and is_open_ended(tuning):
            raise CampaignError(
                f"{source}: recipe.epochs: is found by the search itself under the schedule "
                f"{tuning.recipe.schedule.name}: training ends when the model fits; leave it out, or set --max-epochs"
            )
    if own > max_epochs and not is_open_ended(tuning):
        raise CampaignError(f"--max-epochs: must be at least the campaign's recipe.epochs {own}, got {max_epochs}")
    return space, max_epochs


def _mistakes(tuning: Campaign, values: Mapping[str, Any], dataset: Dataset) -> list[str]:
    """What is wrong with some values, a model that does not suit the data included."""
    lines = value_mistakes(tuning, values)
    if lines or not any(name.startswith("model") for name in values):
        return lines
    try:
        check_campaign_fits(check_campaign(with_values(tuning.model_dump(mode="json"), values)), dataset)
    except CampaignError:
        return []  # values that do not go together; others may
    except LongtailError as error:
        return [str(error)]
    return []
