"""Campaigns end to end in this process: resume, extend, refuse, fail, diverge."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import analysis
from orchestrator import LocalRunner, campaign_status, run_campaign
from orchestrator.campaigns.campaign_report import CampaignProgress
from orchestrator.campaigns.run import CampaignFailedError
from orchestrator.store_ops.verify import verify_store
from tests.command import call
from tests.conftest import small_campaign
from tests.store.test_store import everything
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.errors import CampaignError, DataError, LongtailError, ModelError, StoreMismatchError
from workers.store import Store

ROOT = Path(__file__).parents[2]


def runs_of(store: object) -> list[str]:
    frame = pd.read_parquet(f"{store}/results", columns=["run_id", "is_final"])
    return sorted(frame.loc[frame["is_final"], "run_id"])


def contents(store: object) -> dict[str, str]:
    """Shard names and content hashes: all that must be reproducible of the results."""
    opened = Store.open(str(store))
    assert verify_store(str(store))[1] == []
    return {
        shard.shard_id: opened.read(shard).schema.metadata[b"longtail.content_sha256"].decode()
        for shard in opened.shards()
    }


def estimates(store: object) -> dict[str, bytes]:
    analysis.write_estimates(Store.open(str(store)))
    return everything(Path(str(store)) / "estimates")


@pytest.mark.slow
def test_a_campaign_from_start_to_estimates(small: Campaign, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = run_campaign(small, tmp_path / "s", on_progress=lambda p: seen.append((p.committed, p.total)))
    assert report.complete
    assert seen[0] == (0, 6)
    assert seen[-1] == (6, 6)
    assert runs_of(tmp_path / "s") == [Run(ratio_ppm, r).run_id for ratio_ppm in (200_000, 600_000) for r in range(3)]
    assert len(estimates(tmp_path / "s")) == 6
    memorization = pd.read_parquet(tmp_path / "s" / "estimates" / "memorization.parquet")
    assert len(memorization) == 2 * 1437
    assert memorization.nlargest(3, "mem")["se"].notna().all()


def test_running_again_trains_nothing(small: Campaign, tmp_path: Path) -> None:
    run_campaign(small, tmp_path / "s")
    before = everything(tmp_path)
    report = run_campaign(small, tmp_path / "s")
    assert (report.progress.before, report.progress.trained, report.complete) == (6, 0, True)
    assert everything(tmp_path) == before


@pytest.mark.slow
def test_extending_trains_only_what_is_missing_and_gives_the_same(small: Campaign, tmp_path: Path) -> None:
    run_campaign(small, tmp_path / "s", shard_size=2)
    wider = small_campaign(subsets={"ratios": [0.2, 0.6, 0.9], "repetitions": 5, "seed": 5})
    report = run_campaign(wider, tmp_path / "s")
    assert (report.progress.before, report.progress.trained) == (6, 9)
    assert campaign_status(str(tmp_path / "s")).requested == 15
    run_campaign(wider, tmp_path / "whole", shard_size=4)
    assert estimates(tmp_path / "s") == estimates(tmp_path / "whole")
    fewer = run_campaign(small, tmp_path / "s", repetitions=1)
    assert (fewer.progress.total, fewer.progress.trained) == (2, 0)
    assert fewer.holdings is not None and fewer.holdings.there == {200_000: 5, 600_000: 5}
    status = campaign_status(str(tmp_path / "s"))
    assert (status.requested, status.committed, status.beyond) == (1 + 1 + 5, 7, 8), "what was requested last"


class _StopError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, _StopError])
def test_an_interrupted_campaign_keeps_what_it_has(
    small: Campaign, tmp_path: Path, interruption: type[BaseException]
) -> None:
    def interrupt(progress: CampaignProgress) -> None:
        if progress.trained == 2:
            raise interruption

    with pytest.raises(interruption):
        run_campaign(small, tmp_path / "s", shard_size=1, on_progress=interrupt)
    kept = len(runs_of(tmp_path / "s"))
    assert 2 <= kept <= 3, "a third may have been trained already, and is then written too"
    report = run_campaign(small, tmp_path / "s")
    assert (report.progress.before, report.progress.trained) == (kept, 6 - kept)
    run_campaign(small, tmp_path / "undisturbed", shard_size=1)
    assert contents(tmp_path / "s") == contents(tmp_path / "undisturbed")


@pytest.mark.slow
def test_status_and_estimates_of_an_unfinished_campaign(small: Campaign, tmp_path: Path) -> None:
    states: list[tuple[int, str, str]] = []

    def look(progress: CampaignProgress) -> None:
        if progress.trained == 3:
            states.extend(call(command, tmp_path / "s") for command in ("status", "estimate"))

    run_campaign(small, tmp_path / "s", shard_size=1, on_progress=look)
    assert [code for code, _, _ in states] == [0, 0]
    assert "3 of 6 runs" in states[0][1]
    assert "memorization.parquet" in states[1][1]


@pytest.mark.slow
def test_runs_see_the_labels_that_the_store_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Label noise is drawn once: another version of NumPy may not change it under a campaign that goes on."""
    noisy = small_campaign(label_noise={"fraction": 0.5})
    run_campaign(noisy, tmp_path / "whole", shard_size=1)
    run_campaign(noisy, tmp_path / "s", shard_size=1, repetitions=1)
    monkeypatch.setattr("orchestrator.campaigns.preflight.given_labels", lambda campaign, labels, classes: labels)
    run_campaign(noisy, tmp_path / "s")
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")
    assert (tmp_path / "s" / "examples.parquet").read_bytes() == (tmp_path / "whole" / "examples.parquet").read_bytes()


def test_another_campaign_is_refused_and_nothing_changes(small: Campaign, tmp_path: Path) -> None:
    run_campaign(small, tmp_path / "s")
    before = everything(tmp_path)
    with pytest.raises(StoreMismatchError, match=r"recipe.epochs: the store has 2, the campaign has 9"):
        run_campaign(small_campaign(recipe={"epochs": 9, "batch_size": 256}), tmp_path / "s")
    assert everything(tmp_path) == before


def test_other_data_are_refused(tmp_path: Path) -> None:
    def blobs(seed: int) -> Campaign:
        dataset = {"name": "user_code:blobs", "options": {"seed": seed}}
        return small_campaign(dataset=dataset, recipe={"epochs": 1, "batch_size": 8})

    run_campaign(blobs(0), tmp_path / "s")
    with pytest.raises(StoreMismatchError, match="dataset.options.seed: .*\n.*created from a different data set"):
        run_campaign(blobs(1), tmp_path / "s")


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"subsets": {"ratios": [0.0005], "repetitions": 1}}, CampaignError, "is an empty subset"),
        (
            {"recipe": {"epochs": 1, "batch_size": 500, "drop_last": True}},
            CampaignError,
            "recipe.drop_last: leaves no minibatch of 500 in the 287 examples at ratio 0.2",
        ),
        ({"model": {"name": "vit", "patch_size": 3}}, ModelError, "patch_size"),
        ({"model": {"name": "user_code:nothing"}}, ModelError, "user_code"),
        ({"dataset": {"name": "no.such.module:load"}}, DataError, "no.such.module"),
        ({"dataset": {"name": "mnist", "root": "/nowhere", "download": False}}, DataError, "/nowhere"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    parts: dict[str, object], error: type[LongtailError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        run_campaign(small_campaign(**parts), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_errors_of_the_users_data_come_with_their_traceback(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the user's data are elsewhere"):
        run_campaign(small_campaign(dataset={"name": "user_code:raising_data"}), tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_a_shard_that_raises_is_retried_then_recorded(tmp_path: Path) -> None:
    campaign = small_campaign(model={"name": "user_code:raising_model"})
    report = run_campaign(campaign, tmp_path / "s", shard_size=1)
    assert not report.complete
    assert len(report.failures) == 6
    assert [failure.attempts for failure in report.failures] == [2] * 6
    status = campaign_status(str(tmp_path / "s"))
    assert len(status.failures) == 6
    recorded = json.loads((tmp_path / "s" / "failures" / "r200000-000000-000001.json").read_text())
    assert recorded["message"] == "RuntimeError: the user's own mistake"
    assert "in fault" in recorded["traceback"]


@pytest.mark.slow
def test_a_passing_fault_is_retried_and_forgotten(tmp_path: Path) -> None:
    options = {"marker": str(tmp_path / "marker")}
    campaign = small_campaign(model={"name": "user_code:raising_once_model", "options": options})
    report = run_campaign(campaign, tmp_path / "s", shard_size=1)
    assert report.complete
    assert campaign_status(str(tmp_path / "s")).failures == ()


@pytest.mark.slow
def test_a_campaign_in_which_nothing_works_ends_early(tmp_path: Path) -> None:
    campaign = small_campaign(model={"name": "user_code:raising_model"}, subsets={"ratios": [0.5], "repetitions": 500})
    with pytest.raises(CampaignFailedError, match="the first 10 shards all failed: RuntimeError: the user's own"):
        run_campaign(campaign, tmp_path / "s", shard_size=1)
    assert len(list((tmp_path / "s" / "failures").iterdir())) == 10


def test_diverged_runs_are_kept_counted_and_left_out(tmp_path: Path) -> None:
    campaign = small_campaign(
        model={"name": "mlp", "hidden": [8, 8]},
        recipe={"epochs": 3, "batch_size": 64, "optimizer": {"name": "sgd", "learning_rate": 1e6, "weight_decay": 1e3}},
    )
    report = run_campaign(campaign, tmp_path / "s")
    assert report.complete
    assert report.progress.diverged == 6
    assert report.holdings is not None
    assert (report.usable, report.holdings.diverged) == (False, {200_000: 3, 600_000: 3})
    assert not run_campaign(campaign, tmp_path / "s").usable, "nor by a call that trains nothing"
    assert [ratio.diverged for ratio in campaign_status(str(tmp_path / "s")).ratios] == [3, 3]
    with pytest.raises(LongtailError):
        analysis.write_estimates(Store.open(str(tmp_path / "s")))


@pytest.mark.parametrize("repetitions", [0, -1, 1.5, "3", 10**9])
def test_repetitions_are_checked_from_python_too(small: Campaign, tmp_path: Path, repetitions: Any) -> None:
    with pytest.raises(CampaignError, match="^repetitions: must be a whole number from 1 to 1000000 or None, got "):
        run_campaign(small, tmp_path / "s", repetitions=repetitions)
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_a_uri_is_as_good_as_a_folder(small: Campaign, tmp_path: Path) -> None:
    run_campaign(small, f"memory://{tmp_path.name}/s")
    run_campaign(small, tmp_path / "s")
    here, there = analysis.open_store(tmp_path / "s"), analysis.open_store(f"memory://{tmp_path.name}/s")
    pd.testing.assert_frame_equal(here.memorization(), there.memorization())


@pytest.mark.slow
def test_everything_at_once_without_test_examples(tmp_path: Path) -> None:
    """No test set, a ratio at which nobody is held out, noisy labels, every epoch recorded."""
    campaign = small_campaign(
        dataset={"name": "user_code:untested_blobs"},
        recipe={"epochs": 3, "batch_size": 8, "drop_last": True, "schedule": {"name": "one-cycle"}},
        label_noise={"fraction": 0.2},
        subsets={"ratios": [0.5, 1.0], "repetitions": 4},
        record={"epochs": "all"},
    )
    run_campaign(campaign, tmp_path / "s")
    view = analysis.open_store(tmp_path / "s")
    runs = view.runs()
    assert len(runs) == 2 * 4 * 3
    assert runs["test_accuracy"].isna().all()
    assert (runs["heldout_accuracy"].isna() == (runs["ratio"] == 1.0)).all()
    assert (view.examples()["label"] != view.examples()["given_label"]).sum() == 6
    names = ("consistency", "cscore", "forgetting", "memorization")
    assert sorted(estimates(tmp_path / "s")) == [f"{name}.parquet" for name in names]
    assert campaign_status(str(tmp_path / "s")).test_accuracy is None
    assert verify_store(str(tmp_path / "s")) == (8, [])


def test_features_train_as_well_as_images(tmp_path: Path) -> None:
    campaign = small_campaign(
        dataset={"name": "user_code:blobs"},
        model={"name": "mlp", "hidden": []},
        recipe={"epochs": 5, "batch_size": 8, "input_scaling": "standardize"},
    )
    run_campaign(campaign, tmp_path / "s")
    frame = pd.read_parquet(tmp_path / "s" / "results", columns=["test_accuracy"])
    assert frame["test_accuracy"].mean() > 0.6


def test_the_local_runner_trains_where_it_is_told(small: Campaign, tmp_path: Path) -> None:
    run_campaign(small, tmp_path / "s", runner=LocalRunner(device="cpu"))
    assert set(pd.read_parquet(tmp_path / "s" / "results", columns=["device"])["device"]) == {"cpu"}
