"""`longtail tune`: spaces checked at the edge, searches on a Ray cluster, killed and resumed, and what they write."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from orchestrator import run_campaign
from orchestrator.cli.commands.tune import warn_no_recipe
from orchestrator.cli.search_progress import notes
from orchestrator.tuning.candidates import draw_candidates, tuning_seed, with_epochs
from orchestrator.tuning.choice import Cost, choose
from orchestrator.tuning.record import FinishedTrial
from orchestrator.tuning.session import SearchProgress, SearchReport
from orchestrator.tuning.settings import Search
from orchestrator.tuning.space import Domain, read_space
from orchestrator.tuning.trial import Trial, TrialTrainer
from orchestrator.tuning.tune import search_recipe, tuning_campaign
from orchestrator.tuning.tuned_file import check_tuned_path, write_tuned
from tests.command import call
from tests.conftest import small_campaign
from tests.one_cluster import SEARCHED, commands, read_ended
from tests.tuning.test_choice import GIVEN, trial_result
from workers.campaign.yaml_io import dump_campaign, read_campaign
from workers.datasets import load_dataset
from workers.errors import CampaignError, CommandError, LongtailError
from workers.store import Store


def campaign_file(folder: Path, **parts: object) -> Path:
    path = folder / "campaign.yaml"
    path.write_text(dump_campaign(small_campaign(**parts)))
    return path


def space_file(folder: Path, **fields: object) -> Path:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump({name.replace("__", "."): value for name, value in fields.items()}))
    return path


RATES = {"recipe__optimizer__learning_rate": {"log_uniform": [0.01, 1.0]}}


# --- spaces ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"recipe__optimizer__learning_rat": {"choice": [0.1]}},
            "unknown field (did you mean learning_rate?), got 0.1",
        ),
        ({"model__hiden": {"choice": [[8]]}}, "model.hiden: unknown field (did you mean hidden?), got [8]"),
        ({"recipe__batch_size": {"int_range": [0, 8]}}, "recipe.batch_size: must be greater than or equal to 1, got 0"),
        ({"recipe__batch_size": {"pick": [8]}}, "recipe.batch_size: must be a mapping with one of choice, uniform,"),
        ({"recipe__batch_size": {"int_range": [8, 2.5]}}, "int_range must be two whole numbers [lowest, highest]"),
        ({"recipe__label_smoothing": {"log_uniform": [0, 1]}}, "log_uniform must be of numbers greater than 0"),
        ({"subsets__seed": {"choice": [1]}}, "subsets.seed: must be a field of recipe or model"),
        ({"recipe__epochs": {"int_range": [1, 9]}}, "recipe.epochs: is found by the search itself under the schedule"),
        ({"model": {"choice": [{"name": "cnn"}]}}, "model.name: must be mlp, small-cnn"),
        ({"model": {"choice": [{"name": "vit", "patch_size": 3}]}}, "patch"),
        (
            {"model": {"choice": [{"name": "mlp"}, {"name": "small-cnn"}]}, "model__width": {"choice": [4]}},
            "model.width: unknown field (allowed: stage_dropout, name, hidden), got 4",
        ),
    ],
)
def test_a_mistaken_space_is_told_before_anything_starts(fields: dict[str, object], told: str, tmp_path: Path) -> None:
    path = space_file(tmp_path, **fields)
    with pytest.raises(CampaignError) as caught:
        search_recipe(small_campaign(), tmp_path / "results", Search(space=path))
    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines())
    assert told in str(caught.value)
    assert not (tmp_path / "results").exists()


def test_candidates_depend_on_seed_and_number_alone() -> None:
    space = {
        "recipe.optimizer.learning_rate": Domain("log_uniform", (1e-3, 1.0)),
        "recipe.batch_size": Domain("log_int_range", (8, 64)),
        "recipe.schedule": Domain("choice", ({"name": "constant"}, {"name": "triangular", "peak_epoch": 3})),
        "recipe.epochs": Domain("int_range", (1, 9)),
    }
    limits = {"seed": 3, "max_epochs": 9, "smallest_subset": 200}
    few = draw_candidates(small_campaign(), space, trials=5, **limits)
    many = draw_candidates(small_campaign(), dict(reversed(space.items())), trials=60, **limits)
    assert few == many[:5]
    assert few[0].campaign == small_campaign()
    recipes = [each.campaign.recipe for each in many[1:]]
    assert {recipe.schedule.name for recipe in recipes} == {"constant", "triangular"}
    for each in recipes:
        assert 1e-3 <= each.optimizer.learning_rate <= 1
        assert 8 <= each.batch_size <= 64
        assert each.epochs == 9 if each.schedule.name == "constant" else 3 <= each.epochs <= 9
    rates = np.log10([recipe.optimizer.learning_rate for recipe in recipes])
    assert -2 < np.median(rates) < -1


def test_a_cut_recipe_leaves_out_what_comes_later() -> None:
    schedule = {"name": "step", "milestones": [2, 5]}
    campaign = small_campaign(recipe={"epochs": 8, "batch_size": 64, "schedule": schedule})
    assert with_epochs(campaign, 4).recipe.schedule.model_dump()["milestones"] == (2,)


# --- trials ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_trial_trains_as_the_campaign_will(tmp_path: Path) -> None:
    """Epoch by epoch, the accuracies are those that a store of the same runs holds."""
    campaign = small_campaign(record={"epochs": "all"}, recipe={"epochs": 3, "batch_size": 64})
    run_campaign(campaign, tmp_path / "s")
    stored = pd.read_parquet(
        tmp_path / "s" / "results", columns=["ratio", "epoch", "subset_accuracy", "heldout_accuracy"]
    )
    expected = stored.groupby(["epoch", "ratio"]).mean()
    trial = Trial(key="00000", campaign=campaign, first=0, fit=2.0, until_fit=True)
    for now in TrialTrainer("cpu").epochs(trial):
        at = expected.loc[now.epoch]
        assert now.subset_accuracy == pytest.approx(at["subset_accuracy"].min())
        assert now.heldout_accuracy == pytest.approx(at["heldout_accuracy"].mean())
        assert now.ended == ("unfitted" if now.epoch == 3 else None)
    assert Store.open(tmp_path / "s").header.stack_size == 3


def test_trials_run_no_probes(tmp_path: Path) -> None:
    """Nor do they read the scores of a probe's split."""
    split = {"scores": {"file": str(tmp_path / "gone.parquet"), "column": "mem"}, "above": 0.5}
    campaign = small_campaign(record={"probes": {"gradients": True, "split": split}})
    assert tuning_campaign(campaign, Search(), load_dataset(campaign.dataset)).record.probes is None


def test_a_search_has_seeds_of_its_own() -> None:
    campaign = small_campaign()
    seeds = {tuning_seed(campaign, seed) for seed in range(100)} | {campaign.subsets.seed}
    assert len(seeds) == 101


def test_only_what_a_search_wrote_is_replaced(tmp_path: Path) -> None:
    campaign, output = campaign_file(tmp_path), tmp_path / "tuned.yaml"
    found = trial_result(7, "fitted", GIVEN, 50.0)
    choice = choose([found], Cost.operations)
    report = SearchReport(SearchProgress(9, ended=9, fitted=1), [found], choice, choice, None, [found])
    check_tuned_path(output, campaign, force=False)
    write_tuned(output, report, small_campaign(), found, Search(), "longtail tune campaign.yaml -o tuned.yaml")
    assert read_campaign(output) == read_campaign(campaign)
    assert "\n# longtail tune campaign.yaml -o tuned.yaml\n" in output.read_text()
    check_tuned_path(output, campaign, force=False)
    for edit in (("epochs: ", "epochs: 1"), ("# Recipe", "# My recipe")):
        edited = output.read_text().replace(*edit)
        (tmp_path / "edited.yaml").write_text(edited)
        with pytest.raises(
            CampaignError, match="edited.yaml: was edited since longtail tune wrote it; --force replaces"
        ):
            check_tuned_path(tmp_path / "edited.yaml", campaign, force=False)
        check_tuned_path(tmp_path / "edited.yaml", campaign, force=True)
    with pytest.raises(CommandError, match="cannot be written: is a folder"):
        check_tuned_path(tmp_path, campaign, force=True)
    with pytest.raises(CampaignError, match="must be another file than the campaign"):
        check_tuned_path(campaign, campaign, force=True)


def test_a_search_that_ran_out_of_time_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    for search, failures, told in (
        (Search(minutes=0.5), (), "no trial was finished within 0.5 minutes (--minutes)\n"),
        (Search(minutes=0.5), ("trial 0: RuntimeError",), "no trial was finished\n"),
        (Search(), (), "no trial was finished\n"),
    ):
        warn_no_recipe(SearchReport(SearchProgress(2), [], None, None, failures=failures), search)
        assert capsys.readouterr().err == told


def test_the_best_recipe_so_far_is_named() -> None:
    now = SearchProgress(total=9, ended=3, fitted=1, stopped=2, best=0.9712, best_recipe="trial 4: learning_rate 0.1")
    assert notes(now) == "1 fitted, 2 stopped, best held-out 0.9712 (trial 4: learning_rate 0.1)"


# --- searches on a cluster ------------------------------------------------------------------------------------------


def keys(results: Path) -> set[str]:
    return {path.stem for path in (results / "trials").glob("[!_]*.json")}


@pytest.mark.ray
def test_killed_and_resumed_a_search_ends_as_if_undisturbed(one_cluster: Path, tmp_path: Path) -> None:
    """Without early stopping nothing depends on order: every trial is what this process trains."""
    results, killed = one_cluster / "searched-tuned-search", one_cluster / "killed"
    assert 1 <= len(pd.read_parquet(killed / "trials.parquet")) <= len(keys(killed)) < 6
    for key in keys(killed):
        assert (results / "trials" / f"{key}.json").read_bytes() == (killed / "trials" / f"{key}.json").read_bytes()
    code, output = read_ended(one_cluster)["searched"]
    assert code == 0, output
    assert "On 8 fresh subsets at each ratio, which no trial has seen" in output
    assert "use the recipe found: " in output or "keep the recipe given: " in output
    subsets = {"ratios": [0.5], "repetitions": 2, "seed": tuning_seed(small_campaign(**SEARCHED), 0)}
    tuning = small_campaign(**{**SEARCHED, "subsets": subsets})
    limits = {"seed": 0, "max_epochs": 40, "smallest_subset": 718}
    space = read_space(one_cluster / "searched-space")
    for candidate in draw_candidates(tuning, space, trials=6, **limits)[::2]:
        key = f"{candidate.number:05d}"
        trial = Trial(key=key, campaign=candidate.campaign, first=0, fit=0.96, until_fit=candidate.until_fit)
        ours = [(each.subset, each.heldout) for each in TrialTrainer("cpu").epochs(trial)]
        theirs = FinishedTrial.model_validate_json((results / "trials" / f"{key}.json").read_bytes())
        assert [(epoch.subset, epoch.heldout) for epoch in theirs.epochs] == ours
    frame = pd.read_parquet(results / "trials.parquet")
    assert list(frame["trial"]) == list(range(6))
    values = json.loads((results / "trials" / "00003.json").read_text())["values"]
    assert values["recipe.optimizer.learning_rate"] == frame["recipe.optimizer.learning_rate"][3]
    assert values["model"]["hidden"] in ([16], [48])
    (chosen,) = frame[frame["chosen"]].to_dict("records")
    assert chosen["ended"] == "fitted"
    assert chosen["fresh_subset_accuracy"] >= 0.96
    tuned = one_cluster / "searched-tuned.yaml"
    found, given = read_campaign(tuned), read_campaign(one_cluster / "searched.yaml")
    assert found.recipe.epochs == chosen["epochs"]
    assert (found.subsets, found.dataset, found.record) == (given.subsets, given.dataset, given.record)
    assert tuned.read_text().startswith("# Found by longtail tune. SHA-256 of what follows: ")
    for path in (results / "trials").glob("fresh-*.json"):
        assert json.loads(path.read_text())["values"]["model"]["hidden"]
    (events,) = (results / "tensorboard" / "00003").glob("events.out.tfevents.*")
    assert b"recipe.optimizer.learning_rate" in events.read_bytes()
    assert b"_hparams_/session_start_info" in events.read_bytes()
    assert not (one_cluster / "ray_results").exists(), "Tune left files in the user's home"
    assert run_campaign(found, tmp_path / "s").complete


@pytest.mark.ray
def test_early_stopping_failures_and_what_does_not_fit(one_cluster: Path) -> None:
    code, output = read_ended(one_cluster)["stopped"]
    assert code == 1, output
    assert "RuntimeError: the user's own mistake (traceback: " in output
    assert "trials fits its subsets to 1; the nearest, " in output
    assert "Traceback" not in output
    assert not (one_cluster / "stopped-tuned.yaml").exists()
    results = one_cluster / "stopped-tuned-search"
    assert "in fault" in next((results / "errors").glob("*.txt")).read_text()
    ends = [json.loads(path.read_text())["ended"] for path in (results / "trials").glob("[!_]*.json")]
    assert set(ends) <= {"stopped", "unfitted"}
    assert "stopped" in ends
    code, _, errors = call(*commands(one_cluster)["stopped"], "--repetitions", "3")
    assert code == 2
    assert f"error: {results}: holds another search: search.runs was 2, now 3" in errors


@pytest.mark.slow
def test_interrupted_a_search_says_what_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by Ctrl-C. Real signals, with the same handlers: tests/runners/test_ray.py."""

    def search(*given: object) -> SearchReport:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.tuning.tune.search_recipe", search)
    code, output, errors = call("tune", campaign_file(tmp_path), "-o", tmp_path / "t.yaml")
    assert (code, output) == (130, "")
    assert f"interrupted; finished trials stay in {tmp_path / 't-search'}, and the same command resumes" in errors


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_cannot_be_written_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    campaign = campaign_file(tmp_path)
    (tmp_path / "mine.yaml").write_text("my: own\n")
    code, _, errors = call("tune", campaign, "-o", tmp_path / "mine.yaml")
    assert code == 2
    assert "mine.yaml: exists already, and is not written by longtail tune; --force replaces it" in errors
    (tmp_path / "file").write_text("")
    with pytest.raises(LongtailError, match="file: cannot be written: "):
        search_recipe(small_campaign(), tmp_path / "file")
    (tmp_path / "r" / "trials").mkdir(parents=True)
    (tmp_path / "r" / "trials" / "00000.json").write_text('{"key": "00000"')
    with pytest.raises(LongtailError, match=r"00000.json: is damaged: .*without it the trial is trained again"):
        search_recipe(small_campaign(), tmp_path / "r")


def test_a_space_is_yaml_of_domains(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("recipe.optimizer.learning_rate: {log_uniform: [1e-3, 1]}\nmodel.hidden: {choice: [[8], [8, 8]]}\n")
    assert read_space(path) == {
        "recipe.optimizer.learning_rate": Domain("log_uniform", (1e-3, 1.0)),
        "model.hidden": Domain("choice", ([8], [8, 8])),
    }
