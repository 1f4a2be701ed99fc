"""Data sets: what each kind decodes to, what is refused, and that the cache survives everything."""

import gzip
import io
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from workers.datasets import Dataset, image_folder, load_dataset
from workers.errors import DataError
from workers.specs import EMNIST, CustomData, Digits, ImageFolder, ParquetImages, TorchvisionData

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "cache"
    monkeypatch.setenv("LONGTAIL_CACHE", str(root))
    return root


def real_data(name: str) -> Path:
    shared = os.environ.get("LONGTAIL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data"
    path = Path(shared) / name
    if not path.exists():
        pytest.skip(f"real data not here: {path} (set LONGTAIL_TEST_DATA)")
    return path


def make_dataset(**changes: Any) -> Dataset:
    fields = {
        "train_images": np.arange(4 * 3 * 2 * 2, dtype=np.uint8).reshape(4, 3, 2, 2),
        "train_labels": np.array([0, 1, 2, 1]),
        "test_images": np.full((2, 3, 2, 2), 7, dtype=np.uint8),
        "test_labels": np.array([2, 0]),
        "class_names": ("a", "b", "c"),
    }
    return Dataset(**{**fields, **changes})  # type: ignore[arg-type]


def error_of(action: Callable[[], Any]) -> str:
    with pytest.raises(DataError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- Dataset -------------------------------------------------------------------------------------------------------


def test_a_dataset_tells_its_sizes() -> None:
    dataset = make_dataset(train_labels=np.array([0, 1, 2, 1], dtype=np.uint8))
    assert (dataset.num_train, dataset.num_test, dataset.num_classes) == (4, 2, 3)
    assert dataset.input_shape == (3, 2, 2)
    assert dataset.train_labels.dtype == np.int64
    assert dataset.white == 255.0


def test_features_of_any_shape_are_left_as_they_are_by_default() -> None:
    features = np.ones((4, 5), dtype=np.float32)
    dataset = make_dataset(train_images=features, test_images=features[:0], test_labels=np.zeros(0, dtype=int))
    assert (dataset.white, dataset.input_shape, dataset.num_test) == (1.0, (5,), 0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"train_images": [[1]]}, "train_images: must be a NumPy array, got list"),
        ({"train_images": np.zeros((4, 3, 2, 2))}, "train_images: must be uint8 or float32, got float64"),
        ({"train_images": np.zeros((4, 12), dtype=np.uint8)}, "must be [N, C, H, W], got shape [4, 12]"),
        ({"train_images": np.zeros((4, 3, 0, 2), dtype=np.uint8)}, "train_images: must be [N, ...] with at least"),
        ({"train_images": np.full((4, 2), np.nan, dtype=np.float32)}, "train_images: must be finite, got NaN"),
        ({"test_images": np.zeros((2, 3, 2, 2), dtype=np.float32)}, "test_images: must be uint8 like train_images"),
        ({"test_images": np.zeros((2, 3, 2, 1), dtype=np.uint8)}, "must be [T, 3, 2, 2] like train_images"),
        ({"test_labels": np.array([0])}, "test_labels: must have shape [2], one label for each image, got [1]"),
        ({"train_labels": np.zeros(4)}, "train_labels: must be a NumPy array of integers, got float64"),
        ({"train_labels": [0, 1, 2, 1]}, "train_labels: must be a NumPy array of integers, got list"),
        ({"train_labels": np.array([0, 1, 3, 1])}, "must be 0 to 2 (class_names has 3), got 3 at example 2"),
        ({"test_labels": np.array([0, -1])}, "test_labels: must be 0 to 2 (class_names has 3), got -1 at example 1"),
        ({"class_names": "abc"}, "class_names: must be one or more strings, got 'abc'"),
        ({"class_names": ()}, "class_names: must be one or more strings"),
        ({"white": 0.0}, "white: must be a number greater than 0, got 0.0"),
        ({"white": float("nan")}, "white: must be a number greater than 0, got nan"),
        (
            {"train_images": np.zeros((0, 3, 2, 2), dtype=np.uint8), "train_labels": np.zeros(0, dtype=int)},
            "train_images: needs 1 to 2**31 - 1 examples, got 0",
        ),
    ],
)
def test_fields_that_do_not_go_together_are_refused(changes: dict[str, Any], text: str) -> None:
    assert text in error_of(lambda: make_dataset(**changes))


def test_the_fingerprint_covers_pixels_labels_order_white_and_number_of_classes() -> None:
    base = make_dataset()
    pixel = base.train_images.copy()
    pixel[3, 2, 1, 1] ^= 1
    variants = [
        make_dataset(train_images=pixel),
        make_dataset(train_labels=np.array([0, 1, 2, 2])),
        make_dataset(test_labels=np.array([0, 2])),
        make_dataset(train_images=base.train_images[::-1], train_labels=base.train_labels[::-1]),
        make_dataset(
            train_images=base.train_images.reshape(4, 3, 4, 1), test_images=base.test_images.reshape(2, 3, 4, 1)
        ),
        make_dataset(white=16.0),
        make_dataset(class_names=("a", "b", "c", "d")),
    ]
    assert len({base.fingerprint, *(variant.fingerprint for variant in variants)}) == len(variants) + 1


def test_the_fingerprint_ignores_names_memory_layout_and_integer_type() -> None:
    base = make_dataset()
    same = make_dataset(
        train_images=np.asfortranarray(base.train_images),
        train_labels=base.train_labels.astype(np.int16),
        class_names=("x", "y", "z"),
    )
    assert same.fingerprint == base.fingerprint


def test_the_fingerprint_is_pinned() -> None:
    """Stores hold it: a change of this value orphans every store."""
    assert make_dataset().fingerprint == "3af2763cfef061382df96d66b87cdd7b409b8caaf08b8c9dd05d9fc25258077e"


# --- digits and torchvision's --------------------------------------------------------------------------------------


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


def write_idx(path: Path, array: np.ndarray[Any, Any], *, pack: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    if pack:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


def write_mnist(folder: Path, *, names: tuple[str, str] = ("train", "t10k"), pack: bool = False) -> dict[str, Any]:
    random = np.random.default_rng(0)
    written = {}
    for name, count in zip(names, (20, 10), strict=True):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8) + ("letters" in name)
        write_idx(folder / f"{name}-images-idx3-ubyte", images, pack=pack)
        write_idx(folder / f"{name}-labels-idx1-ubyte", labels, pack=pack)
        written[name] = (images, labels)
    return written


def torchvision_spec(name: Any, root: Path, *, download: bool = False) -> TorchvisionData:
    return TorchvisionData(name=name, root=str(root), download=download)


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
def test_cifar100_has_fine_labels(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    for name in ("train", "test"):
        pixels = np.zeros((2, 3072), dtype=np.uint8)
        write_pickle(folder / name, {"data": pixels, "fine_labels": [99, 0], "coarse_labels": [1, 1]})
    write_pickle(folder / "meta", {"fine_label_names": [f"fine {i}" for i in range(100)]})
    dataset = load_dataset(torchvision_spec("cifar100", tmp_path))
    assert dataset.train_labels.tolist() == [99, 0]
    assert dataset.num_classes == 100


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
    assert f"cannot read {name} from {tmp_path / 'data'}" in text
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


# --- image folders -------------------------------------------------------------------------------------------------


def write_image(path: Path, colour: Any = 0, mode: str = "RGB", size: tuple[int, int] = (4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def folder_spec(root: Path, **options: Any) -> ImageFolder:
    return ImageFolder(name="image-folder", root=str(root), **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for index, name in enumerate(["train/cat/b.png", "train/cat/a.PNG", "train/ant/z.bmp", "val/cat/c.png"]):
        write_image(root / name, (index, 10, 20))
    return root


def test_an_image_folder_is_sorted_by_class_and_file(folder: Path) -> None:
    (folder / "train/cat/.hidden.png").write_bytes(b"no image")
    (folder / "train/cat/notes.txt").write_text("no image")
    (folder / "train/.cache").mkdir()
    dataset = load_dataset(folder_spec(folder))
    assert dataset.class_names == ("ant", "cat")
    assert dataset.train_labels.tolist() == [0, 1, 1]
    assert dataset.train_images[:, 0, 0, 0].tolist() == [2, 1, 0]
    assert dataset.train_images[0, :, 3, 3].tolist() == [2, 10, 20]
    assert dataset.test_labels.tolist() == [1]


def test_a_test_folder_is_optional(folder: Path) -> None:
    shutil.rmtree(folder / "val")
    dataset = load_dataset(folder_spec(folder))
    assert dataset.test_images.shape == (0, 3, 4, 4)
    assert dataset.num_test == 0


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations([(label, name) for label in ("x", "y") for name in ("1.png", "10.png", "2.png")]))
def test_the_order_of_creation_does_not_matter(order: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.setenv("LONGTAIL_CACHE", f"{place}/cache")
        for label, name in order:
            write_image(Path(place) / "train" / label / name, (ord(label), len(name), int(name[0])))
        dataset = load_dataset(folder_spec(Path(place)))
        assert dataset.train_images[:, :, 0, 0].tolist() == [
            [ord(label), len(name), int(name[0])] for label in ("x", "y") for name in ("1.png", "10.png", "2.png")
        ]


@pytest.mark.parametrize(
    ("mode", "colour", "extension", "pixel"),
    [
        ("L", 7, "png", [7]),
        ("1", 1, "png", [255]),
        ("LA", (0, 0), "png", [255]),
        ("I;16", 65_535, "png", [255]),
        ("I;16", 32_768, "tif", [128]),
        ("I", 65_535, "pgm", [255]),
        ("RGB", (1, 2, 3), "ppm", [1, 2, 3]),
        ("RGBA", (255, 0, 0, 255), "png", [255, 0, 0]),
        ("RGBA", (0, 0, 0, 0), "webp", [255, 255, 255]),
        ("CMYK", (0, 0, 0, 255), "tif", [0, 0, 0]),
    ],
)
def test_pixel_modes(tmp_path: Path, mode: str, colour: Any, extension: str, pixel: list[int]) -> None:
    write_image(tmp_path / "train" / "a" / f"image.{extension}", colour, mode)
    dataset = load_dataset(folder_spec(tmp_path))
    assert dataset.train_images[0, :, 0, 0].tolist() == pixel


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    (tmp_path / "train/a").mkdir(parents=True)
    image.save(tmp_path / "train/a/i.png")
    assert load_dataset(folder_spec(tmp_path)).train_images[0, :, 0, 0].tolist() == [10, 20, 30]


def test_channels_grey_rgb_and_auto(tmp_path: Path) -> None:
    write_image(tmp_path / "train/a/grey.png", 100, "L")
    write_image(tmp_path / "test/a/grey.png", 50, "L")
    assert load_dataset(folder_spec(tmp_path)).input_shape == (1, 4, 4)
    assert load_dataset(folder_spec(tmp_path, channels="rgb")).train_images[0, :, 0, 0].tolist() == [100] * 3
    write_image(tmp_path / "test/a/red.png", (255, 0, 0))
    assert load_dataset(folder_spec(tmp_path)).input_shape == (3, 4, 4)
    assert load_dataset(folder_spec(tmp_path, channels="grey")).test_images[1, 0, 0, 0] == 76


def test_images_of_several_sizes_need_a_size(folder: Path) -> None:
    write_image(folder / "train/cat/c.png", size=(6, 5))
    text = error_of(lambda: load_dataset(folder_spec(folder)))
    assert text.startswith(f"{folder}/train/cat/c.png: is 6 x 5 pixels, but {folder}/train/ant/z.bmp is 4 x 4")
    assert load_dataset(folder_spec(folder, size=3)).train_images.shape == (4, 3, 3, 3)


def test_unreadable_images_are_named(folder: Path) -> None:
    (folder / "train/cat/c.png").write_bytes(b"no image")
    assert f"{folder}/train/cat/c.png: is not an image" in error_of(lambda: load_dataset(folder_spec(folder)))
    write_image(folder / "train/cat/c.png", size=(40, 40))
    (folder / "train/cat/c.png").write_bytes((folder / "train/cat/c.png").read_bytes()[:60])
    assert f"{folder}/train/cat/c.png: cannot be read" in error_of(lambda: load_dataset(folder_spec(folder)))


def test_decompression_bombs_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(folder / "train/cat/bomb.png", size=(12, 12))
    for limit in (100, 50):  # Pillow warns beyond its limit, and refuses beyond twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert "bomb" in error_of(lambda: load_dataset(folder_spec(folder, size=4)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda root: write_image(root / "val/dog/a.png"), "val/dog is a class without training images"),
        (lambda root: (root / "train/empty").mkdir(), "train/empty has no images (.png, "),
        (lambda root: shutil.rmtree(root / "train"), "train: No such file or directory"),
        (lambda root: [shutil.rmtree(root / "train" / name) for name in ("cat", "ant")], "train has no folders"),
    ],
)
def test_folders_that_are_no_data_set(folder: Path, change: Callable[[Path], Any], text: str) -> None:
    change(folder)
    assert text in error_of(lambda: load_dataset(folder_spec(folder)))


# --- Parquet -------------------------------------------------------------------------------------------------------


def png(value: int, size: tuple[int, int] = (2, 2)) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, value).save(buffer, "png")
    return buffer.getvalue()


def write_parquet(path: Path, images: list[Any], labels: Any, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": images, "label": labels})
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=2)
    return path


def parquet_spec(train: Path, test: Path | None = None, **options: Any) -> ParquetImages:
    return ParquetImages(name="parquet", train=str(train), test=None if test is None else str(test), **options)


def as_struct(values: list[int]) -> list[dict[str, Any]]:
    return [{"bytes": png(value), "path": None} for value in values]


def test_parquet_folders_are_read_in_sorted_order(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train/1.parquet", as_struct([4, 5, 6]), [1, 0, 2])
    write_parquet(tmp_path / "train/0.parquet", as_struct([1, 2, 3]), [0, 1, 0])
    test = write_parquet(tmp_path / "test.parquet", [png(9)], [2])
    dataset = load_dataset(parquet_spec(tmp_path / "train", test))
    assert dataset.train_images[:, 0, 0, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert dataset.train_labels.tolist() == [0, 1, 0, 1, 0, 2]
    assert dataset.test_images[0, 0, 0, 0] == 9
    assert dataset.class_names == ("0", "1", "2")
    assert load_dataset(parquet_spec(tmp_path / "train")).num_test == 0


def test_class_names_of_the_hub_and_of_text_labels(tmp_path: Path) -> None:
    feature = {"names": ["cat", "dog", "eel"], "_type": "ClassLabel"}
    hub = {"huggingface": json.dumps({"info": {"features": {"label": feature}}})}
    train = write_parquet(tmp_path / "hub.parquet", as_struct([1, 2]), [0, 1], hub)
    assert load_dataset(parquet_spec(train)).class_names == ("cat", "dog", "eel")
    text = pa.array(["zebra", "ape"]).dictionary_encode()
    train = write_parquet(tmp_path / "text.parquet", as_struct([1, 2]), text)
    dataset = load_dataset(parquet_spec(train))
    assert (dataset.class_names, dataset.train_labels.tolist()) == (("ape", "zebra"), [1, 0])


@pytest.mark.parametrize(
    ("images", "labels", "text"),
    [
        (as_struct([1, 2]), [0, None], "row 1: has no label in column 'label'"),
        ([png(1), None], [0, 1], "row 1: has no image bytes in column 'image'"),
        ([{"bytes": png(1), "path": ""}, {"bytes": None, "path": "x"}], [0, 1], "row 1: has no image bytes"),
        ([png(1), b"no image"], [0, 1], "row 1: is not an image"),
        ([png(1), png(1, (3, 2))], [0, 1], "row 1: is 3 x 2 pixels, but"),
        (as_struct([1, 2]), [0, -1], "row 1: column 'label' must be one of the 1 classes (0 to 0), got -1"),
        (as_struct([1, 2]), [0, 10**9], "must hold class numbers below 1000000, got 1000000000"),
        (as_struct([1, 2]), [0.0, 1.0], "must be integers or text, got double"),
        (["a", "b"], [0, 1], "must be binary or a struct with binary field `bytes`, got string"),
        (pa.array([], pa.binary()), pa.array([], pa.int64()), "has no rows"),
    ],
)
def test_parquet_rows_that_cannot_be_used(tmp_path: Path, images: list[Any], labels: Any, text: str) -> None:
    train = write_parquet(tmp_path / "train.parquet", images, labels)
    assert text in error_of(lambda: load_dataset(parquet_spec(train)))


def test_a_test_label_that_training_does_not_have(tmp_path: Path) -> None:
    train = write_parquet(tmp_path / "train.parquet", as_struct([1, 2]), ["a", "b"])
    test = write_parquet(tmp_path / "test.parquet", as_struct([1]), ["c"])
    assert "test.parquet: row 0: column 'label' must be one of the 2 classes (a, b), got 'c'" in error_of(
        lambda: load_dataset(parquet_spec(train, test))
    )


def test_parquet_files_that_cannot_be_used(tmp_path: Path) -> None:
    train = write_parquet(tmp_path / "train.parquet", as_struct([1]), [0])
    assert "has the columns image, label, got 'img'" in error_of(
        lambda: load_dataset(parquet_spec(train, image_column="img"))
    )
    assert "dataset.train: must be" in error_of(lambda: load_dataset(parquet_spec(tmp_path / "nowhere")))
    train.write_bytes(train.read_bytes()[:-10])
    assert "cannot be read as Parquet" in error_of(lambda: load_dataset(parquet_spec(train)))


def test_cifar10_as_parquet() -> None:
    root = real_data("cifar10")
    dataset = load_dataset(parquet_spec(root / "test.parquet"))
    assert dataset.train_images.shape == (10_000, 3, 32, 32)
    assert np.bincount(dataset.train_labels).tolist() == [1000] * 10
    assert 110 < dataset.train_images.mean() < 130


# --- functions of users --------------------------------------------------------------------------------------------

USER_MODULE = """
import numpy as np
from workers.datasets import Dataset

CALLS = []
not_a_function = 3

def make_set(value=1, names=("a", "b"), examples=3):
    CALLS.append(value)
    images = np.full((examples, 5), value, dtype=np.float32)
    labels = np.zeros(examples, dtype=np.int64)
    return Dataset(images, labels, images[:0], labels[:0], tuple(names))

def broken():
    raise KeyError("mine")

def number():
    return 5
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "user_sets.py").write_text(USER_MODULE)
    (tmp_path / "code" / "user_broken.py").write_text("import module_that_is_not_there\n")
    (tmp_path / "code" / "user_raising.py").write_text("raise ZeroDivisionError('at import')\n")
    monkeypatch.syspath_prepend(tmp_path / "code")
    import user_sets  # type: ignore[import-not-found]

    yield user_sets
    sys.modules.pop("user_sets", None)


def custom(function: str = "user_sets:make_set", **options: Any) -> CustomData:
    return CustomData(name=function, options=options)


def test_a_function_is_called_with_its_options_unless_its_data_are_known(user_module: Any) -> None:
    dataset = load_dataset(custom(value=4))
    assert isinstance(dataset.train_images, np.memmap)
    assert (dataset.train_images[0].tolist(), dataset.white) == ([4.0] * 5, 1.0)
    assert load_dataset(custom(value=4)).fingerprint == dataset.fingerprint
    assert user_module.CALLS == [4, 4]
    assert load_dataset(custom(value=4), dataset.fingerprint).fingerprint == dataset.fingerprint
    assert user_module.CALLS == [4, 4]


@pytest.mark.usefixtures("user_module")
def test_equal_data_under_other_names_keep_their_own_names() -> None:
    assert load_dataset(custom(names=["a", "b"])).class_names == ("a", "b")
    assert load_dataset(custom(names=["c", "d"])).class_names == ("c", "d")


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("user_sets:make_sets", "user_sets has no make_sets (did you mean make_set?)"),
        ("user_sets:not_a_function", "must be a function, got int"),
        ("user_setz:make_set", "no module named user_setz"),
        ("user_sets.inner:make_set", "no module named user_sets.inner"),
        ("user_sets:number", "must return a workers.datasets.Dataset, got int"),
    ],
)
@pytest.mark.usefixtures("user_module")
def test_functions_that_are_not_there(function: str, text: str) -> None:
    message = error_of(lambda: load_dataset(custom(function)))
    assert text in message
    assert function in message


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        ("user_sets:broken", KeyError),
        ("user_broken:f", ModuleNotFoundError),
        ("user_raising:f", ZeroDivisionError),
    ],
)
@pytest.mark.usefixtures("user_module")
def test_what_user_code_raises_passes_through(function: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        load_dataset(custom(function))
    assert not isinstance(caught.value, DataError)


# --- the cache -----------------------------------------------------------------------------------------------------


def test_files_are_decoded_once_and_again_when_they_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_dataset(folder_spec(folder))
    decode, decoded = image_folder.decode, []

    def counted(spec: ImageFolder, scratch: Path) -> Dataset:
        decoded.append(spec)
        return decode(spec, scratch)

    monkeypatch.setattr(image_folder, "decode", counted)
    assert load_dataset(folder_spec(folder)).fingerprint == first.fingerprint
    assert not decoded
    write_image(folder / "train/cat/b.png", (200, 1, 1))
    os.utime(folder / "train/cat/b.png", ns=(1, 1))
    assert load_dataset(folder_spec(folder)).fingerprint != first.fingerprint
    assert len(decoded) == 1


def test_a_fingerprint_is_opened_without_the_files_and_compared_with_them(folder: Path) -> None:
    dataset = load_dataset(folder_spec(folder))
    shutil.move(folder, folder.with_name("away"))
    assert load_dataset(folder_spec(folder), dataset.fingerprint).num_train == 3
    shutil.move(folder.with_name("away"), folder)
    for other in ("0" * 64, "../../etc"):
        text = error_of(lambda other=other: load_dataset(folder_spec(folder), other))
        assert text == f"data set: expected fingerprint {other}, got {dataset.fingerprint}"


def test_the_cached_fingerprint_is_not_computed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = load_dataset(folder_spec(folder)).fingerprint
    monkeypatch.setattr("workers.datasets.dataset.chunks", None)
    assert load_dataset(folder_spec(folder)).fingerprint == known


@pytest.mark.parametrize("damage", ["missing", "short", "long", "dtype", "garbage", "meta"])
def test_a_damaged_entry_is_built_again(folder: Path, cache: Path, damage: str) -> None:
    dataset = load_dataset(folder_spec(folder))
    pixels, fingerprint = np.array(dataset.train_images), dataset.fingerprint
    entry = cache / "datasets" / fingerprint
    file = entry / "train_images.npy"
    content = file.read_bytes()
    match damage:
        case "missing":
            file.unlink()
        case "short":
            file.write_bytes(content[:-1])
        case "long":
            file.write_bytes(content + b"x")
        case "dtype":
            file.write_bytes(content.replace(b"|u1", b"|i1"))
        case "garbage":
            file.write_bytes(b"PK\x03\x04" + content[4:])
        case "meta":
            (entry / "meta.json").write_text("[1")
    for expected in (None, fingerprint):
        again = load_dataset(folder_spec(folder), expected)
        np.testing.assert_array_equal(again.train_images, pixels)
    assert sorted(path.name for path in entry.iterdir()) == [
        "meta.json", "test_images.npy", "test_labels.npy", "train_images.npy", "train_labels.npy",
    ]  # fmt: skip


def test_a_damaged_source_record_is_written_again(folder: Path, cache: Path) -> None:
    load_dataset(folder_spec(folder))
    (record,) = (cache / "sources").iterdir()
    record.write_text("{")
    load_dataset(folder_spec(folder))
    assert "fingerprint" in json.loads(record.read_text())


CHILD = """
import os, sys, time
from pathlib import Path
from workers.datasets import image_folder, load_dataset
from workers.specs import ImageFolder

decode = image_folder.decode

def slow(spec, scratch):
    with open(sys.argv[2], "a") as log:
        log.write("decoded ")
    time.sleep(0.5)
    return decode(spec, scratch)

image_folder.decode = slow
print(load_dataset(ImageFolder(name="image-folder", root=sys.argv[1])).fingerprint)
"""


def test_two_processes_decode_once(folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", CHILD, str(folder), str(log)]
    children = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    prints = {child.communicate(timeout=60)[0].strip() for child in children}
    assert [child.returncode for child in children] == [0, 0]
    assert prints == {load_dataset(folder_spec(folder)).fingerprint}
    assert log.read_text().split() == ["decoded"]


def killed_at(step: int, action: Callable[[], Any]) -> bool:
    """Run in a forked process that kills itself before its step-th call of fsync or rename; False: it had fewer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on forking beside threads
        child = os.fork()
    if child == 0:
        remaining = [step]

        def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any) -> Any:
                remaining[0] -= 1
                if remaining[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args)

            return call

        try:
            os.fsync, Path.rename = deadly(os.fsync), deadly(Path.rename)  # type: ignore[method-assign]
            Path.replace = deadly(Path.replace)  # type: ignore[method-assign]
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_a_writer_killed_at_any_step_leaves_nothing_wrong_or_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "MNIST" / "raw", pack=True)
    spec = torchvision_spec("mnist", tmp_path)
    expected = load_dataset(spec).fingerprint
    step = 1
    while True:
        root = tmp_path / f"cache{step}"
        monkeypatch.setenv("LONGTAIL_CACHE", str(root))
        if not killed_at(step, lambda: load_dataset(spec)):
            break
        assert list((root / "scratch").iterdir())
        load_dataset(Digits())  # another data set removes the leftover too
        assert not list((root / "scratch").iterdir())
        dataset = load_dataset(spec)
        assert dataset.fingerprint == expected
        assert Dataset(*(getattr(dataset, name) for name in NAMES)).fingerprint == expected
        step += 1
    assert step > 8  # five files, the folders, two renames


NAMES = ("train_images", "train_labels", "test_images", "test_labels", "class_names")


def test_a_cache_that_cannot_be_made_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LONGTAIL_CACHE", str(tmp_path / "file" / "cache"))
    text = error_of(lambda: load_dataset(Digits()))
    assert str(tmp_path / "file") in text
    assert "LONGTAIL_CACHE" in text


def test_a_full_cache_names_the_variable(cache: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        text = error_of(lambda: load_dataset(Digits()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "train_images.npy: File too large; set LONGTAIL_CACHE" in text
    assert not list((cache / "scratch").iterdir())
    assert load_dataset(Digits()).num_train == 1437


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Without the right to write: as `nobody` where the tests run as root, whom permissions do not stop."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        everything = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for path in everything:
            path.chmod(0o555)
        try:
            yield
        finally:
            for path in everything:
                path.chmod(0o755)


def test_a_read_only_cache_serves_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        monkeypatch.setenv("LONGTAIL_CACHE", place)
        dataset = load_dataset(Digits())
        with read_only(Path(place)):
            assert load_dataset(Digits(), dataset.fingerprint).num_train == 1437
            write_nothing = load_dataset(Digits())
            text = error_of(lambda: load_dataset(custom(f"{__name__}:make_dataset")))
        assert write_nothing.fingerprint == dataset.fingerprint
        assert "Permission denied; set LONGTAIL_CACHE" in text
