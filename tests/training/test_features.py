"""Features of a run: those of its replayed model, as a data set of campaigns that train its last layer alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

import longtail
from orchestrator import RunFeatures, features, replay, run_campaign
from orchestrator.report.campaign_text import describe_campaign
from tests.command import call
from tests.conftest import small_campaign
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.datasets import load_dataset
from workers.datasets.feature_file import write_features
from workers.errors import MISTAKE, CampaignError, DamagedFileError, StoreMismatchError
from workers.store import Store
from workers.training.device_data import load_on_device

RUN = "0.6/1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`encoder`: a store with noisy labels; `f.npz`: the features of one of its runs; `head`: a store on them."""
    path = tmp_path_factory.mktemp("features")
    run_campaign(small_campaign(label_noise={"fraction": 0.1}), path / "encoder")
    code, output, errors = call("features", path / "encoder", RUN, "-o", path / "f.npz")
    assert code == 0, errors
    assert "run r600000-000001: all recorded bits reproduced" in output
    assert "8 of each of 1,437 training and 360 test examples" in output
    assert "the run was trained on 862 of the 1,437 training examples" in output
    run_campaign(head_campaign(path), path / "head", runner="local", shard_size=2, stack_size=2)
    return path


@pytest.fixture(scope="module")
def computed(folder: Path) -> RunFeatures:
    return features(folder / "encoder", RUN)


def head_campaign(folder: Path, **dataset: object) -> Campaign:
    return small_campaign(
        dataset={"name": "features", "file": str(folder / "f.npz"), **dataset},
        model={"name": "mlp", "hidden": []},
        subsets={"ratios": [0.6], "repetitions": 6},
    )


def test_features_are_those_of_the_replayed_model(folder: Path, computed: RunFeatures) -> None:
    """By hand: every layer but the last one, on each example by itself."""
    store = Store.open(folder / "encoder")
    campaign = store.header.campaign
    assert isinstance(campaign, Campaign)
    dataset, model = load_dataset(campaign.dataset), replay(store, RUN).model
    data = load_on_device(dataset, campaign, store.given_labels(), torch.device("cpu"))
    for found, images in (
        (computed.train_features, dataset.train_images),
        (computed.test_features, dataset.test_images),
    ):
        with torch.no_grad():
            layers = list(model.children())[:-1]
            expected = [data.scaled(torch.from_numpy(np.array(images[k : k + 1]))) for k in range(len(images))]
            for layer in layers:
                expected = [layer(each) for each in expected]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, torch.cat(expected).numpy(), rtol=1e-5, atol=1e-6)
    assert (computed.train_features != 0).any()
    np.testing.assert_array_equal(computed.train_labels, dataset.train_labels)
    np.testing.assert_array_equal(computed.given_labels, store.given_labels())
    assert (computed.given_labels != computed.train_labels).sum() == 144
    subsets = longtail.open_store(store.uri).subsets(ratio=0.6)
    np.testing.assert_array_equal(computed.seen_by_encoder, subsets.loc["r600000-000001"])


def test_the_file_holds_them(folder: Path, computed: RunFeatures) -> None:
    with np.load(folder / "f.npz", allow_pickle=False) as arrays:
        for name in ("train_features", "test_features", "given_labels", "seen_by_encoder"):
            np.testing.assert_array_equal(arrays[name], getattr(computed, name))
    dataset = load_dataset(head_campaign(folder).dataset)
    assert dataset.fingerprint == computed.dataset.fingerprint
    assert dataset.class_names == tuple("0123456789")
    assert dataset.notes[0] == (
        "memorization here is of the head alone: the encoder (run r600000-000001 of campaign "
        f"{computed.encoder.identity[:12]}) saw 862 of 1,437 examples"
    )
    write_features(computed, folder / "again.npz")
    assert (folder / "again.npz").read_bytes() == (folder / "f.npz").read_bytes()


def test_a_head_campaign_resumes_with_the_same_bits(folder: Path, tmp_path: Path) -> None:
    store = Store.open(folder / "head")
    hashes = {shard: store.maintenance.run_hashes(shard) for shard in store.shards()}
    assert len(hashes) == 3
    run_campaign(head_campaign(folder), tmp_path / "s", runner="local", repetitions=2, shard_size=2, stack_size=2)
    run_campaign(head_campaign(folder), tmp_path / "s", runner="local")
    again = Store.open(tmp_path / "s")
    assert {shard: again.maintenance.run_hashes(shard) for shard in again.shards()} == hashes
    assert call("verify", folder / "head")[0] == 0


def test_the_encoder_is_part_of_the_identity(folder: Path, computed: RunFeatures, tmp_path: Path) -> None:
    header = Store.open(folder / "head").header
    assert header.encoder == computed.encoder
    assert header.encoder is not None
    assert isinstance(header.campaign, Campaign)
    other = header.encoder.model_copy(update={"run": "r600000-000002"})
    assert header.campaign.with_encoder(other).identity(header.fingerprint) != header.identity
    write_features(features(folder / "encoder", "0.6/2"), tmp_path / "f.npz")
    with pytest.raises(StoreMismatchError, match=r"dataset.encoder.run: the store has 'r600000-000001', the campaign"):
        run_campaign(head_campaign(tmp_path), folder / "head")
    pinned = head_campaign(tmp_path, encoder=header.encoder.model_dump())
    with pytest.raises(CampaignError, match=r"^dataset.encoder.run: must be r600000-000002, as in .*, got r600000-00"):
        run_campaign(pinned, tmp_path / "s")
    assert not (tmp_path / "s").exists()
    with pytest.raises(CampaignError, match=r"dataset.encoder.run: must be a run_id such as .*, got 'x'"):
        head_campaign(folder, encoder={**header.encoder.model_dump(), "run": "x"})


def test_examples_tell_what_the_encoder_has_seen(folder: Path, computed: RunFeatures) -> None:
    view = longtail.open_store(folder / "head")
    seen = computed.seen_by_encoder
    np.testing.assert_array_equal(view.examples("train")["seen_by_encoder"].astype(bool), seen)
    assert view.examples("test")["seen_by_encoder"].isna().all()
    for frame in (view.memorization(), view.cscore()):
        np.testing.assert_array_equal(frame["seen_by_encoder"], seen[frame["example_id"]])
    assert "seen_by_encoder" not in longtail.open_store(folder / "encoder").memorization()
    line = f"(run r600000-000001 of campaign {computed.encoder.identity[:12]}) saw 862 of 1,437 examples"
    assert line in call("memorization", folder / "head")[1]
    assert "saw" not in call("memorization", folder / "encoder", "--ratio", 0.6)[1]
    assert line in dict(describe_campaign(view.store))["Encoder"]


def test_comparison_with_the_whole_network(folder: Path, computed: RunFeatures) -> None:
    """The examples are the same ones, and can be restricted to those that the encoder has not seen."""
    unseen = int((~computed.seen_by_encoder).sum())
    whole = longtail.compare(folder / "encoder", folder / "head", ratio=0.6)
    assert whole.matched == ""
    assert len(whole.scores) > unseen
    held_out = longtail.compare(folder / "encoder", longtail.UnseenByEncoder(folder / "head"), ratio=0.6)
    ids = held_out.scores["example_id"]
    assert not computed.seen_by_encoder[ids].any()
    assert ids.tolist() == [each for each in whole.scores["example_id"] if not computed.seen_by_encoder[each]]
    words = ("compare", folder / "encoder", folder / "head", "--ratio", 0.6)
    assert f"; {unseen} examples that its encoder has not seen)" in call(*words, "--unseen-by", "b")[1]
    code, _, errors = call(*words, "--unseen-by", "a")
    assert (code, "encoder: has no encoder: its data set must have features of a run" in errors) == (MISTAKE, True)
    assert call(*words, "--pairs", "--unseen-by", "b")[0] == MISTAKE


def test_an_encoder_of_features_has_seen_what_its_own_encoder_saw(folder: Path, computed: RunFeatures) -> None:
    second = features(folder / "head", Run(600_000, 0))
    subset = longtail.open_store(folder / "head").subsets(ratio=0.6).loc["r600000-000000"].to_numpy()
    np.testing.assert_array_equal(second.seen_by_encoder, computed.seen_by_encoder | subset)
    assert second.encoder.examples == computed.encoder.examples
    np.testing.assert_array_equal(second.train_features, computed.train_features)  # a head alone has its inputs


def test_the_head_can_be_trained_on_the_labels_of_the_encoder(folder: Path, tmp_path: Path) -> None:
    campaign = head_campaign(folder).with_label_noise(file=str(folder / "f.npz"), column="given_labels")
    run_campaign(campaign, tmp_path / "s", repetitions=1)
    given_labels = Store.open(tmp_path / "s").given_labels()
    np.testing.assert_array_equal(given_labels, Store.open(folder / "encoder").given_labels())


def test_altered_examples_are_found(folder: Path, tmp_path: Path) -> None:
    store = Store.open(folder / "head")
    table = store.examples()
    place = table.column_names.index("seen_by_encoder")
    seen = table["seen_by_encoder"].to_pylist()
    other = Store.create(
        tmp_path / "s", store.header, table.set_column(place, "seen_by_encoder", [[not seen[0], *seen[1:]]])
    )
    with pytest.raises(DamagedFileError, match="column seen_by_encoder: does not contain the values of the campaign"):
        other.seen_by_encoder()
