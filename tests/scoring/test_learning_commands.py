"""proxies, noise, suspects and profiles, on one small campaign of digits with label noise."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis import open_store, proxy_agreement
from analysis.reading.sequences import At
from orchestrator import run_campaign
from tests.command import call
from tests.conftest import small_campaign
from tests.learning_runs import learning_runs
from tests.synthetic import make_stores, random_runs

PICTURE = b"\x89PNG"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 runs of digits, a fifth of the labels wrong."""
    path = tmp_path_factory.mktemp("noisy") / "store"
    campaign = small_campaign(
        model={"name": "mlp", "hidden": [32]},
        recipe={"epochs": 8, "batch_size": 64},
        label_noise={"fraction": 0.2},
        subsets={"ratios": [0.3, 0.7], "repetitions": 12, "seed": 5},
        record={"epochs": "all", "presentations": True, "probabilities": True},
    )
    run_campaign(campaign, path)
    return path


def read(store: Path, name: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """A table in the store, and what is said of it."""
    path = store / "estimates" / f"{name}.parquet"
    metadata = pq.read_schema(path).metadata
    return pd.read_parquet(path), {
        key.decode().removeprefix("longtail."): text.decode() for key, text in metadata.items()
    }


@pytest.mark.slow
def test_noise_is_found_and_drawn(store: Path, tmp_path: Path) -> None:
    code, output, _ = call("noise", store, "--plot", tmp_path / "noise.png")
    assert code == 0
    frame, said = read(store, "noise")
    pd.testing.assert_frame_equal(open_store(store).noise(), frame)
    assert json.loads(said["ratios"])["0.7"] == {"runs": 12, "diverged": 0, "epoch": 8}
    assert (said["estimate"], said["confidence"]) == ("noise", "0.95")
    aucs = frame.set_index("score")["auc"]
    assert min(aucs["cscore"], aucs["probability"].max(), aucs["accuracy"].max()) > 0.95
    assert "287 noisy labels" in output
    assert f"table: {store}/estimates/noise.parquet\nplot: {tmp_path}/noise.png\n" in output
    assert (tmp_path / "noise.png").read_bytes().startswith(PICTURE)


@pytest.mark.slow
def test_suspects_are_listed(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "suspects.csv"
    code, output, _ = call("suspects", store, "--by", "probability", "--top", 3, "-o", path)
    frame = pd.read_csv(path)
    pd.testing.assert_frame_equal(open_store(store).suspects(by="probability"), frame)
    assert (code, len(frame)) == (0, 1437)
    assert not (store / "estimates" / "suspects.parquet").exists()
    first = frame.iloc[0]
    assert f"1 {first['example_id']:.0f} {first['given_label']:.0f} (is {first['label']:.0f})" in " ".join(
        output.split()
    )
    assert "ranked by probability: 1,437 examples\nfrom " in output and f"table: {path}\n" in output
    assert frame["given_label"].ne(frame["label"]).head(100).mean() > 0.9
    assert call("suspects", store)[0] == 0
    assert read(store, "suspects")[1]["by"] == "loss"


@pytest.mark.slow
def test_proxies_are_written_and_compared(store: Path, tmp_path: Path) -> None:
    code, output, _ = call("proxies", store, "--plot", tmp_path / "proxies.png")
    assert code == 0
    view = open_store(store)
    proxies, said = read(store, "proxies")
    pd.testing.assert_frame_equal(view.proxies(), proxies)
    assert list(json.loads(said["ratios"])) == ["0.7"]
    agreement, said = read(store, "proxy_agreement")
    pd.testing.assert_frame_equal(view.proxy_agreement(), agreement)
    assert said["cscore"] == f"{store} (ratios 0.3, 0.7, 24 runs)"
    assert agreement.set_index("proxy").loc[["probability", "accuracy"], "spearman"].min() > 0.5
    assert output.startswith(f"proxies at ratio 0.7, C-score of {said['cscore']}\n")
    assert (tmp_path / "proxies.png").read_bytes().startswith(PICTURE)
    scores = np.arange(1437.0)
    np.savez(tmp_path / "c.npz", labels=view.examples("train")["label"], scores=scores)
    code, _, _ = call("proxies", store, "--ratio", 0.3, "--cscore", tmp_path / "c.npz", "-o", tmp_path / "c.csv")
    expected = proxy_agreement(view.proxies(ratio=0.3), scores)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "c.csv"), expected)


@pytest.mark.slow
def test_profiles_are_written_and_drawn(store: Path, tmp_path: Path) -> None:
    pictures = [tmp_path / "profiles.png", tmp_path / "learning.png"]
    code, output, _ = call("profiles", store, "--by", "noise", "--plot", pictures[0], "--learning-plot", pictures[1])
    assert code == 0
    view = open_store(store)
    profiles, said = read(store, "profiles")
    pd.testing.assert_frame_equal(view.profiles(by="noise"), profiles)
    assert said["by"] == "noise"
    learning = read(store, "learning")[0]
    kinds: tuple[At, ...] = ("presentations", "evaluations", "heldout")
    pd.testing.assert_frame_equal(
        pd.concat([view.learning_curves(at=kind, by="noise") for kind in kinds], ignore_index=True), learning
    )
    pd.testing.assert_frame_equal(view.class_summary(), read(store, "classes")[0])
    clean, noisy = (profiles[profiles["name"] == name].set_index("ratio")["consistency"] for name in ("clean", "noisy"))
    assert (clean > noisy + 0.5).all()
    assert f"clean 1150 {clean[0.3]:.3f} {clean[0.7]:.3f} noisy 287" in " ".join(output.split())
    assert all(path.read_bytes().startswith(PICTURE) for path in pictures)


def test_profiles_at_ratio_1_are_learning_curves_by_other_scores(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    halves = make_stores(tmp_path / "halves", {0.5: random_runs(random, 12, 20, 4, 0.5)}).uri
    whole = make_stores(tmp_path / "whole", {1.0: learning_runs(random, 6, 20, 3, 1.0)}).uri
    code, output, error = call("profiles", whole, "--scores", halves, "--groups", 3, "-o", tmp_path / "l.csv")
    assert code == 0, error
    frame = pd.read_csv(tmp_path / "l.csv")
    expected = open_store(whole).learning_curves(scores=halves, groups=3)
    pd.testing.assert_frame_equal(frame[frame["at"] == "presentations"], pd.DataFrame(expected))
    speed, said = read(Path(whole), "learning_speed")
    assert (said["by"], said["scores"]) == ("scores", halves)
    shown = "{epoch:.2f} ± {epoch_se:.2f}".format(**speed.iloc[0])
    assert shown in output and "ratio 1, at presentations: learned at 90% of the group" in output
    assert not (Path(whole) / "estimates" / "profiles.parquet").exists()
    for words, message in (
        (("--scores-ratio", 0.5), "--scores-ratio: must be left out without --scores, got 0.5"),
        (("--scores", halves, "--by", "class"), "--by: must be left out with --scores, got class"),
        (("--scores", halves, "--plot", tmp_path / "p.png"), f"{whole}: has no consistency profile"),
        ((), f"{whole}: has no C-score to group by: no run held an example out; scores of another store or file can"),
    ):
        code, _, error = call("profiles", whole, *words)
        assert code != 0 and message in " ".join(error.split()), error


def test_what_cannot_be_done_is_told_before_anything_is_read(store: Path, tmp_path: Path) -> None:
    bare = make_stores(tmp_path / "bare", {0.5: random_runs(np.random.default_rng(1), 4, 8, 2, 0.5)}).uri
    for words, expected, message in (
        (("noise", bare), 2, f"error: {bare}: has no noisy label, every given label is the data set's own"),
        (("noise", store, "--plot", tmp_path / "a.txt"), 2, "error: --plot: must end with .png, .pdf, .svg, got "),
        (("profiles", bare, "--learning-plot", "a.png"), 2, f"error: {bare}: has no learning curves"),
        (("suspects", store, "--by", "size"), 2, "--by must be one of mem, cscore"),
    ):
        code, _, error = call(*words)
        assert (code, message in " ".join(error.split()), "Traceback" in error) == (expected, True, False), error
    assert not (Path(bare) / "estimates").exists()
