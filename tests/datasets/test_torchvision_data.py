"""Digits, and torchvision's data sets from small files of their formats."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets.support import error_of, real_data, torchvision_spec, write_idx, write_mnist
from workers.campaign.dataset_spec import CIFAR100, EMNIST, Digits
from workers.datasets import load_dataset


def test_digits() -> None:
    from sklearn.datasets import load_digits

    dataset = load_dataset(Digits())
    bunch = load_digits()
    assert dataset.train_images.shape == (1437, 1, 8, 8)
    assert dataset.white == dataset.train_images.max() == 16
    np.testing.assert_array_equal(dataset.test_images[:, 0], bunch.images[::5])
    np.testing.assert_array_equal(dataset.test_labels, bunch.target[::5])
    np.testing.assert_array_equal(dataset.train_labels[:5], bunch.target[[1, 2, 3, 4, 6]])
    assert isinstance(dataset.train_images, np.memmap)
    assert not dataset.train_images.flags.writeable


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize(
    ("name", "folder", "label_name"),
    [("mnist", "MNIST", "9"), ("fashion-mnist", "FashionMNIST", "Ankle boot"), ("kmnist", "KMNIST", "wo")],
)
def test_the_mnist_family_packed_or_not(tmp_path: Path, name: str, folder: str, label_name: str, pack: bool) -> None:
    written = write_mnist(tmp_path / folder / "raw", pack=pack)
    before = sorted(tmp_path.rglob("*.gz"))
    dataset = load_dataset(torchvision_spec(name, tmp_path))
    np.testing.assert_array_equal(dataset.train_images[:, 0], written["train"][0])
    np.testing.assert_array_equal(dataset.test_labels, written["t10k"][1])
    assert dataset.class_names[9] == label_name
    assert sorted((tmp_path / folder).rglob("*.gz")) == before  # the folder may be read-only


@pytest.mark.parametrize("part", ["images-idx3-ubyte", "labels-idx1-ubyte"])
def test_idx_files_hold_what_they_claim(tmp_path: Path, part: str) -> None:
    write_mnist(tmp_path / "MNIST" / "raw")
    file = tmp_path / "MNIST" / "raw" / f"train-{part}"
    content, dimensions = file.read_bytes(), 3 if "images" in part else 1
    for damaged, problem in {
        content[:4] + b"\xff\xff\xff\xff" + content[8:]: "and claims 4294967295",
        content[:-1]: "bytes, and claims",
        content[:2] + b"\x0e" + content[3:]: f"is no IDX file of {dimensions} dimensions",
        content[:3] + b"\x02" + content[4:]: f"is no IDX file of {dimensions} dimensions",
        content[:5]: f"is no IDX file of {dimensions} dimensions",
    }.items():
        file.write_bytes(damaged)
        assert problem in error_of(lambda: load_dataset(torchvision_spec("mnist", tmp_path)))
    count = 600_000_000
    file.write_bytes(bytes([0, 0, 8, dimensions]) + (count.to_bytes(4, "big") + b"\0\0\0\1" * 2)[: 4 * dimensions])
    with file.open("ab") as opened:
        opened.truncate(4 + 4 * dimensions + count)  # sparse: nothing is stored
    told = error_of(lambda: load_dataset(torchvision_spec("mnist", tmp_path)))
    assert f"{file} has 600,000,000 examples" in told and "(1,000,000 in 560,000,000)" in told


def test_emnist_is_upright_and_letters_start_at_0(tmp_path: Path) -> None:
    names = ("emnist-letters-train", "emnist-letters-test")
    written = write_mnist(tmp_path / "EMNIST" / "raw", names=names)
    dataset = load_dataset(EMNIST(name="emnist", root=str(tmp_path), download=False, split="letters"))
    np.testing.assert_array_equal(dataset.train_images[:, 0], written[names[0]][0].transpose(0, 2, 1))
    assert dataset.train_labels.min() == 0
    assert (dataset.class_names[0], dataset.num_classes) == ("a", 26)


def test_the_official_mnist() -> None:
    root = real_data("MNIST").parent
    dataset = load_dataset(torchvision_spec("mnist", root))
    assert dataset.train_images.shape == (60_000, 1, 28, 28)
    assert dataset.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.test_labels[:5].tolist() == [7, 2, 1, 0, 4]


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up CIFAR and SVHN files cannot have the official checksums that torchvision asks for."""

    def exists(path: str, md5: str | None = None) -> bool:
        return Path(path).is_file()

    for module in ("cifar", "svhn"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", exists)


def write_pickle(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


@pytest.mark.usefixtures("unchecked")
def test_cifar10(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    pixels = np.random.default_rng(0).integers(0, 256, (6, 2, 3072), dtype=np.uint8)
    for index, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        write_pickle(folder / name, {"data": pixels[index], "labels": [index, 9]})
    write_pickle(folder / "batches.meta", {"label_names": [f"class {i}" for i in range(10)]})
    dataset = load_dataset(torchvision_spec("cifar10", tmp_path))
    np.testing.assert_array_equal(dataset.train_images, pixels[:5].reshape(10, 3, 32, 32))
    assert dataset.train_labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    assert dataset.class_names[3] == "class 3"


@pytest.mark.usefixtures("unchecked")
def test_cifar100_has_fine_and_coarse_labels(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    for name in ("train", "test"):
        pixels = np.zeros((2, 3072), dtype=np.uint8)
        write_pickle(folder / name, {"data": pixels, "fine_labels": [99, 0], "coarse_labels": [1, 19]})
    names = {kind: [f"{kind} {i}" for i in range(count)] for kind, count in (("fine", 100), ("coarse", 20))}
    write_pickle(folder / "meta", {f"{kind}_label_names": name for kind, name in names.items()})
    dataset = load_dataset(CIFAR100(name="cifar100", root=str(tmp_path)))
    assert (dataset.train_labels.tolist(), dataset.num_classes) == ([99, 0], 100)
    coarse = load_dataset(CIFAR100(name="cifar100", root=str(tmp_path), coarse=True))
    assert (coarse.train_labels.tolist(), coarse.test_labels.tolist()) == ([1, 19], [1, 19])
    assert coarse.class_names == tuple(names["coarse"])


@pytest.mark.usefixtures("unchecked")
def test_svhn_calls_the_digit_0_class_0(tmp_path: Path) -> None:
    from scipy.io import savemat

    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 3), dtype=np.uint8)
    for split in ("train", "test"):
        savemat(tmp_path / f"{split}_32x32.mat", {"X": pixels, "y": np.array([[1], [10], [9]], dtype=np.uint8)})
    dataset = load_dataset(torchvision_spec("svhn", tmp_path))
    np.testing.assert_array_equal(dataset.train_images, pixels.transpose(3, 2, 0, 1))
    assert dataset.train_labels.tolist() == [1, 0, 9]


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_missing_files_without_download_say_what_to_do(tmp_path: Path, name: str) -> None:
    text = error_of(lambda: load_dataset(torchvision_spec(name, tmp_path / "data")))
    assert f"{name} is not complete in {tmp_path / 'data'}: " in text
    assert "set dataset.download to true" in text


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import urllib.error

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", unreachable)
    text = error_of(lambda: load_dataset(torchvision_spec("kmnist", tmp_path, download=True)))
    assert "network" in text
    assert "Name or service not known" in text


@pytest.mark.parametrize("pack", [False, True])
def test_truncated_files_are_told_in_one_line(tmp_path: Path, pack: bool) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_mnist(raw, pack=pack)
    file = next(raw.glob("train-images*"))
    file.write_bytes(file.read_bytes()[:-1000])
    assert str(tmp_path) in error_of(lambda: load_dataset(torchvision_spec("mnist", tmp_path)))


def test_files_that_do_not_fit_each_other_are_told_in_one_line(tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST" / "raw")
    write_idx(tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte", np.zeros(19, dtype=np.uint8))
    text = error_of(lambda: load_dataset(torchvision_spec("mnist", tmp_path)))
    assert "train_labels: must have shape [20]" in text
