"""Campaigns whose store is damaged, moved away, emptied or replaced while they are trained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import run_campaign
from orchestrator.campaigns.campaign_report import CampaignProgress
from orchestrator.store_ops.verify import verify_store
from tests.campaigns.test_run import contents
from tests.conftest import small_campaign
from tests.store.test_store import everything
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Shard
from workers.errors import StoreError


@pytest.mark.slow
def test_damage_is_repaired_by_the_next_run(small: Campaign, tmp_path: Path) -> None:
    run_campaign(small, tmp_path / "s", shard_size=1)
    before = contents(tmp_path / "s")
    victim = sorted((tmp_path / "s" / "results").iterdir())[2]
    victim.write_bytes(victim.read_bytes()[:-100])
    _, findings = verify_store(str(tmp_path / "s"), repair=True)
    assert [finding.path for finding in findings] == [str(victim)]
    report = run_campaign(small, tmp_path / "s")
    assert report.progress.trained == 1
    assert contents(tmp_path / "s") == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path: Path) -> None:
    content = path.read_bytes()
    middle = len(content) // 2  # several bits: one alone may be of a statistic that no reader looks at
    path.write_bytes(
        content[:middle] + bytes(each ^ 1 for each in content[middle : middle + 300]) + content[middle + 300 :]
    )


def turned_into_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def linked_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


@pytest.mark.slow
@pytest.mark.parametrize("earlier", [True, False], ids=["of an earlier call", "of this call"])
@pytest.mark.parametrize("damage", [cut, flipped, turned_into_a_folder, linked_to_nothing, Path.unlink])
def test_the_last_word_is_what_the_store_holds(
    damage: Callable[[Path], None], earlier: bool, small: Campaign, tmp_path: Path
) -> None:
    if earlier:
        run_campaign(small, tmp_path / "s", shard_size=1, repetitions=1)
    place = tmp_path / "s" / "results" / f"{Shard(600_000, 0, 1).shard_id}.parquet"
    done: list[Path] = []

    def disturb(progress: CampaignProgress) -> None:
        if progress.trained >= 2 and place.exists() and not done:
            damage(place)
            done.append(place)

    report = run_campaign(small, tmp_path / "s", shard_size=1, on_progress=disturb)
    assert (report.complete, report.progress.committed, report.progress.total) == (False, 5, 6)
    named = [] if damage is Path.unlink else [str(place)]
    assert report.holdings is not None
    assert [str(error).partition(": ")[0] for error in report.holdings.damaged] == named
    if damage is not Path.unlink:
        again = run_campaign(small, tmp_path / "s")  # a store that is damaged already
        assert again.holdings is not None and len(again.holdings.damaged) == 1
        assert (again.complete, again.progress.committed) == (False, 5)
        assert [finding.path for finding in verify_store(str(tmp_path / "s"), repair=True)[1]] == named
    assert run_campaign(small, tmp_path / "s").complete


def test_examples_that_vanish_are_damage_and_written_again(small: Campaign, tmp_path: Path) -> None:
    place = tmp_path / "s" / "examples.parquet"

    def disturb(progress: CampaignProgress) -> None:
        if progress.trained:
            place.unlink(missing_ok=True)

    report = run_campaign(small, tmp_path / "s", on_progress=disturb)
    assert (report.complete, report.progress.committed) == (False, 6)
    assert report.holdings is not None
    assert str(report.holdings.damaged[0]).startswith(f"{place}: is missing (")
    assert run_campaign(small, tmp_path / "s").complete
    assert verify_store(str(tmp_path / "s")) == (4, [])


def moved(place: Path) -> None:
    place.rename(place.with_name("elsewhere"))


def emptied(place: Path) -> None:
    for name in ("campaign.json", "examples.parquet"):
        (place / name).unlink()
    (place / "results").rename(place.with_name("elsewhere"))


def replaced(place: Path) -> None:
    """By a store of the same campaign with other shards: as unfit for ours as any other."""
    moved(place)
    run_campaign(small_campaign(), place, shard_size=3)


def link_pointed_elsewhere(place: Path) -> None:
    run_campaign(small_campaign(recipe={"epochs": 1, "batch_size": 256}), place.with_name("other"))
    place.unlink()
    place.symlink_to(place.with_name("other"))


@pytest.mark.slow
@pytest.mark.parametrize("disturb", [moved, emptied, replaced, link_pointed_elsewhere])
def test_a_store_that_goes_away_is_not_made_anew(disturb: Callable[[Path], None], tmp_path: Path) -> None:
    """Nor is another one written to that was put in its place."""
    place, after = tmp_path / "s", list[dict[str, bytes]]()
    if disturb is link_pointed_elsewhere:
        place.symlink_to(tmp_path / "real")
        (tmp_path / "real").mkdir()

    def sabotage(progress: CampaignProgress) -> None:
        if progress.trained == 1 and not after:
            disturb(place)
            after.append(everything(place) if place.exists() else {})

    said = "the store no longer exists" if disturb in (moved, emptied) else "was replaced by another store"
    with pytest.raises(StoreError, match=f"^{place}: {said}[^\n]*$"):
        run_campaign(small_campaign(), place, shard_size=1, on_progress=sabotage)
    assert (everything(place) if place.exists() else {}) == after[0]
    if disturb is moved:
        elsewhere = tmp_path / "elsewhere"
        assert run_campaign(small_campaign(), elsewhere).progress.trained < 6
        assert verify_store(str(elsewhere))[1] == []
