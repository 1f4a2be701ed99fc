"""The speed comparison: does it train what it says, count what it says, and tell its mistakes."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import airbench, image_loop, jax_child, loading, longtail_measurement, loops, peak, plain_loop, speed
from benchmarks.flops import example_operations, model_operations
from benchmarks.gpu.journal import Journal
from benchmarks.jax_script import measure_jax
from benchmarks.measure import Contestant, Measurement, PeerError, rows, turns
from benchmarks.processes import Timed, run_in_processes
from benchmarks.table import describe
from benchmarks.workloads import NINE_RATIOS, Sizes, make_workload
from tests import process_jobs
from tests.datasets.support import torchvision_spec, write_mnist
from workers.datasets import load_dataset
from workers.models import build_model

ROOT = Path(__file__).parents[2]

SCRIPT = """
import numpy
from jax.config import config
from tqdm import tqdm
import matplotlib.pyplot as plt
import tensorflow_datasets as tfds

data = tfds.as_numpy(tfds.load(name='mnist', batch_size=-1, as_dataset_kwargs={'shuffle_files': False}))

def subset_train(seed, ratio):
    images, labels = data['train']['image'], data['train']['label']
    mask = numpy.arange(len(images)) < int(ratio * len(images))
    return mask, mask | (numpy.arange(len(images)) == len(images) - seed)
"""


@pytest.mark.slow
def test_the_plain_loop_learns_digits() -> None:
    campaign = make_workload("digits", Sizes()).campaign
    data, recipe = loops.load_tensors(campaign, "cpu"), loops.loop_recipe(campaign)
    assert (data.train_images.max().item(), data.train_images.dtype) == (1, torch.float32)
    results = [plain_loop.train_model(data, recipe, 0.7, seed) for seed in range(3)]
    assert all(0.94 < result.test <= 1 for result in results)
    assert all(result.held_out is not None and 0.94 < result.held_out < 0.99 for result in results)
    assert results[0] != results[1]
    assert plain_loop.train_model(data, recipe, 1.0, 0).held_out is None


@pytest.mark.slow
def test_the_image_loop_learns_colours() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(96) % 2
    images = np.where(labels[:, None, None, None] == 1, 200, 50) + random.integers(0, 9, (96, 32, 32, 3))
    arrays = image_loop.ImageArrays(
        images[:64].astype(np.uint8), labels[:64], images[64:].astype(np.uint8), labels[64:]
    )
    recipe = image_loop.ImageRecipe(
        network="resnet9",
        epochs=2,
        batch_size=16,
        learning_rate=0.05,
        momentum=0.9,
        weight_decay=5e-4,
        schedule="triangular",
        peak_epoch=1.0,
        label_smoothing=0.1,
        padding=2,
        cutout=4,
        flip_at_evaluation=True,
    )
    result = image_loop.train_model(arrays, recipe, 1.0, 0, image_loop.Execution("cpu", workers=0))
    assert result.test > 0.9


@pytest.mark.parametrize("pack", [False, True])
def test_the_jax_script_is_given_the_same_images_as_we_are(pack: bool, tmp_path: Path) -> None:
    written = write_mnist(tmp_path / "MNIST" / "raw", pack=pack)
    tfds = jax_child.stand_ins(tmp_path)["tensorflow_datasets"]
    given = tfds.as_numpy(tfds.load(name="mnist", batch_size=-1, as_dataset_kwargs={"shuffle_files": False}))
    for split, name in (("train", "train"), ("test", "t10k")):
        images, labels = written[name]
        assert given[split]["image"].dtype == np.uint8
        assert np.array_equal(given[split]["image"], images[..., None])
        assert np.array_equal(given[split]["label"], labels)
    dataset = load_dataset(torchvision_spec("mnist", tmp_path))
    assert np.array_equal(given["train"]["image"], dataset.train_images.transpose(0, 2, 3, 1))
    assert np.array_equal(given["train"]["label"], dataset.train_labels)


@pytest.mark.slow
def test_a_script_runs_in_another_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path / "MNIST" / "raw")
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "site" / "jax").mkdir(parents=True)
    fake = "__version__ = '0'\nconfig = None\ndef default_backend(): return 'cpu'\n"
    (tmp_path / "site" / "jax" / "__init__.py").write_text(fake)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    work = make_workload("mnist", Sizes(mnist_root=tmp_path, ratios=[0.5, 0.2]))
    measured = measure_jax(work, tmp_path / "script.py", sys.executable, tmp_path, "cpu", 2, 1e9)
    assert [(run["ratio"], run["seed"]) for run in measured.details["runs"]] == [(0.5, 1), (0.2, 1), (0.5, 2), (0.2, 2)]
    assert measured.models == 4
    assert measured.accuracy == pytest.approx((1 / 10 + 1 / 16) / 2)  # one right of those outside the subset


def test_operations_of_layers() -> None:
    mlp = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)
    )
    first, rest = 784 * 512, 512 * 256 + 256 * 10
    counted = example_operations(mlp, (1, 28, 28))
    assert (counted.forward, counted.training) == (2 * (first + rest), 2 * (2 * first + 3 * rest))
    cnn = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
    first, rest = 36 * 8 * 27, 8 * 36 * 10
    counted = example_operations(cnn, (3, 6, 6))
    assert (counted.forward, counted.training) == (2 * (first + rest), 2 * (2 * first + 3 * rest))


def test_operations_of_models() -> None:
    campaign = make_workload("digits", Sizes()).campaign
    dataset = load_dataset(campaign.dataset)
    first, rest = 64 * 128, 128 * 10
    presented = 30 * int(0.7 * 1437)
    training, forward = 2 * (2 * first + 3 * rest), 2 * (first + rest)
    assert model_operations(campaign, dataset) == presented * training + 1797 * forward
    assert model_operations(campaign, dataset, evaluate_test=False) == presented * training + 1437 * forward


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet9", "resnet18"])
def test_the_image_loop_has_our_networks(name: str, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    campaign = make_workload(name, Sizes(cifar_root=tmp_path)).campaign
    theirs = getattr(image_loop, name)(10)
    ours = build_model(campaign.model, (3, 32, 32), 10)
    assert example_operations(theirs, (3, 32, 32)) == example_operations(ours, (3, 32, 32))
    assert [p.shape for p in theirs.parameters()] == [p.shape for p in ours.parameters()]
    assert loops.image_recipe(campaign).network == name


def test_works_follow_the_presets() -> None:
    work = make_workload("mnist", Sizes(mnist_root=Path("here")))
    assert work.campaign.subsets.ratios == NINE_RATIOS
    assert work.jobs(2)[:10] == [*((ratio, 0) for ratio in reversed(NINE_RATIOS)), (0.9, 1)]
    assert loops.loop_recipe(work.campaign) == plain_loop.LoopRecipe((512, 256), 10, 128, 0.1, 0.9, True)


def test_our_time_starts_when_all_workers_are_ready() -> None:
    moments = [
        longtail_measurement.Moment(*moment)
        for moment in [(0.1, 0, 0), (2, 1, 0), (3, 1, 8), (4, 2, 8), (9, 2, 16), (9.5, 2, 16)]
    ]
    ready, end = longtail_measurement.moments_of_full_load(moments, "digits")
    assert (ready.seconds, end.seconds, end.committed - ready.committed) == (4, 9, 8)
    with pytest.raises(longtail_measurement.NotTimedError, match="before all 2 workers were ready"):
        longtail_measurement.moments_of_full_load(moments[:4], "digits")


@pytest.mark.slow
def test_ours_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longtail_measurement, "find_spec", lambda name: None)  # as where Ray is not installed
    work = make_workload("digits", Sizes(repetitions=2, epochs=2))
    measured = longtail_measurement.measure_longtail(work, longtail_measurement.whole_machine_options("cpu", None), 1e9)
    assert (measured.models, measured.precision, measured.details["runner"]) == (2, "float32", "local")
    assert measured.accuracy is not None
    assert 0.5 < measured.accuracy < 1
    assert measured.rate == 2 / measured.seconds
    assert measured.details["whole_seconds"] > measured.startup_seconds + measured.seconds
    assert describe(measured).endswith(" s in all")


@pytest.mark.slow
def test_processes_share_the_jobs() -> None:
    timed = run_in_processes(2, 1, process_jobs.prepare, (10,), [1, 2, 3, 4])
    assert [result for _, result in timed.results] == [10, 20, 30, 40]
    assert {index for index, _ in timed.results} == {0, 1}
    assert timed.startup_seconds > 0
    assert timed.seconds > 0


def measurement(name: str, seconds: float, precision: str = "float32") -> Measurement:
    return Measurement("w", name, 10, seconds, 1.0, 0.9, "held out", 1e9, precision)


def test_rows_are_medians() -> None:
    measured = [measurement("ours", 1), measurement("peer", 5, "tf32"), measurement("peer", 2, "tf32")]
    measured += [measurement("ours", 4), measurement("ours", 2), measurement("peer", 10, "tf32")]
    mine, peer = rows(measured, {"float32": 1e10})
    assert (mine.rate, mine.lowest, mine.highest, mine.ratio, mine.share_of_peak) == (5, 2.5, 10, 1, 0.5)
    assert (peer.rate, peer.ratio, peer.share_of_peak, peer.repeats) == (2, 2.5, None, 3)


@pytest.mark.parametrize(("fast", "precisions"), [(True, {"float32", "bfloat16"}), (False, {"float32"})])
def test_the_peak_of_emulated_products_is_not_measured(
    fast: bool, precisions: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(
        count: int, threads: int, prepare: object, arguments: object, jobs: list[peak.Product]
    ) -> Timed[float]:
        return Timed([2.0 * job.size for job in jobs], 0, 1)

    monkeypatch.setattr(peak, "fast_bfloat16", lambda device: fast)
    monkeypatch.setattr(peak, "run_in_processes", measured)
    assert set(peak.best_by_precision(peak.measure_peaks("cpu"))) == precisions
    assert set(peak.lacking_instructions("cpu")) == {"float32", "bfloat16"} - precisions


def test_contestants_take_turns() -> None:
    contestants = [Contestant("w", name, lambda: measurement("a", 1)) for name in "abc"]
    assert "".join(one.name for one in turns(contestants, 3)) == "abccbaabc"


def test_airbench_is_read() -> None:
    lines = [
        "---------",
        "|  run     |  epoch  |  train_acc  |  val_acc  |  tta_val_acc  |  time_seconds  |",
        "|  warmup  |      0  |     0.1000  |   0.1000  |               |        1.0000  |",
        "|          |   eval  |     0.1000  |   0.1000  |       0.1001  |        9.0000  |",
        "a warning",
        "|       0  |      0  |     0.5000  |   0.5000  |               |        0.3000  |",
        "|          |   eval  |     0.9500  |   0.9300  |       0.9402  |        2.5900  |",
    ]
    runs = [airbench.AirbenchRun(0.1001, 9.0), airbench.AirbenchRun(0.9402, 2.59)]
    assert list(airbench.parse_runs(lines)) == runs
    assert list(airbench.parse_runs([line.replace("time_s", "total_time_s") for line in lines])) == runs


def test_airbench_finds_its_data(tmp_path: Path) -> None:
    dataset = load_dataset(make_workload("digits", Sizes()).campaign.dataset)
    airbench.prepare_data(dataset, tmp_path)
    stored = torch.load(tmp_path / "cifar10" / "train.pt")
    assert np.array_equal(stored["images"].permute(0, 3, 1, 2).numpy(), dataset.train_images)
    assert np.array_equal(stored["labels"].numpy(), dataset.train_labels)


ENDLESS = """
import pathlib, time
assert pathlib.Path("cifar10/train.pt").is_file()  # 0.5 PFLOPs, it says
print("|  run  |  epoch  |  tta_val_acc  |  total_time_seconds  |")
for run in range({models}):
    print("|  0  |  eval  |  0.94  |  2.5  |")
    time.sleep(0.01)
raise ValueError("over")
"""


def test_airbench_is_stopped_when_enough_models_are_through(tmp_path: Path) -> None:
    dataset = load_dataset(make_workload("digits", Sizes()).campaign.dataset)
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS.format(models=10**6))
    measured = airbench.measure_airbench("resnet9", script, dataset, 2)
    assert (measured.models, measured.rate, measured.accuracy, measured.operations) == (2, 0.4, 0.94, 0.5e15)
    script.write_text(ENDLESS.format(models=2))
    with pytest.raises(PeerError, match="ended after 2 of 3 models: ValueError: over"):
        airbench.measure_airbench("resnet9", script, dataset, 2)


def test_a_peer_that_fails_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> Measurement:
        raise PeerError("no memory")

    contestants = [Contestant("digits", "ours", lambda: measurement("ours", 2)), Contestant("digits", "peer", fail)]
    notes: list[str] = []
    measured = speed.race(make_workload("digits", Sizes()), contestants, 3, notes)
    assert [one.contestant for one in measured] == ["ours"] * 3
    assert notes == ["digits: peer: not measured: no memory"]
    assert notes[0] in capsys.readouterr().out


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        speed.main(["--help"])
    output, errors = capsys.readouterr()
    assert (ended.value.code, errors, "--mnist-root" in output) == (0, "", True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mnist-root", "nowhere"], "--mnist-root: must be a folder, got nowhere"),
        (["--cifar-root", "nowhere"], "--cifar-root: must be a folder, got nowhere"),
        (["--jax-script", "nowhere/mnist.py"], "--jax-script: must be a file, got nowhere/mnist.py"),
        (["--airbench", "nowhere"], "--airbench: must be a file, got nowhere"),
        (["--jax-python", "nowhere"], "--jax-python: must be a Python interpreter, got nowhere"),
        (["--json", "nowhere/x.json"], "--json: must be in a folder that exists, got nowhere/x.json"),
        (["cifar"], "WORK: must be one of digits, mnist, cifar10, resnet9, resnet18, got 'cifar'"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert speed.main(words) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_folder_without_the_data_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert speed.main(["mnist", "--mnist-root", str(tmp_path), "--device", "cpu"]) == 2
    assert "error: dataset.root: mnist is not complete in " in capsys.readouterr().err
    assert speed.main(["resnet9", "--cifar-root", str(tmp_path), "--device", "cpu"]) == 2
    assert "error: --cifar-root: must hold cifar-10-batches-py/" in capsys.readouterr().err


@pytest.mark.slow
def test_the_simulated_driver_ends_its_campaign() -> None:
    """Also with workers that stand still or die: every shard is settled, those left over are repeated."""
    from benchmarks.driver import simulate

    told = simulate(shards=8_000, workers=200)
    assert "assignments of 8000 shards to 200 simulated workers" in told
    repeated = re.search(r"without a queue: (\d+) assignments", told)
    assert repeated is not None
    assert int(repeated[1]) > 0


@pytest.mark.slow
def test_loading_is_told_for_the_cache_and_for_a_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_CACHE", "")  # comes back after the benchmark has set its own
    settings = loading.LoadingSettings(images=16, batch_size=8, repeats=1, steps=1, device=torch.device("cpu"))
    journal = Journal(tmp_path / "rows.jsonl", 10, {})
    loading.measure_side(tmp_path, 32, [0], settings, journal)
    told = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(row["name"], row["status"]) for row in told] == [
        ("making the cache, once", "ok"),
        ("Longtail's cache: loading", "ok"),
        ("Longtail's cache: training", "ok"),
        ("DataLoader, workers 0: loading", "ok"),
        ("DataLoader, workers 0: training", "ok"),
    ]
    assert all(row["images/s"] > 0 for row in told if "images/s" in row)
    assert all(0 < row["share that waits"] < 1 for row in told if "share that waits" in row)
    campaign = loading.make_campaign(tmp_path / "images")
    both = (loading.longtail_epoch(campaign, settings), loading.loader_epoch(tmp_path, 32, 0, settings))
    for epoch in both:
        minibatches = list(epoch())
        assert [tuple(images.shape) for images, _ in minibatches] == [(8, 3, 32, 32)] * 2
        assert sorted(label for _, labels in minibatches for label in labels.tolist()) == sorted([0, 1, 2, 3] * 4)
        assert all(images.min() >= 0 and images.max() <= 1 for images, _ in minibatches)
