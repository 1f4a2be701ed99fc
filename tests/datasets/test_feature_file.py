"""Files of features are refused in one line where they are not what `longtail features` writes."""

import io
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.command import call
from tests.datasets.support import error_of
from workers.campaign.dataset_spec import Encoder, FeatureData
from workers.datasets import Dataset, load_dataset
from workers.datasets.feature_file import write_features
from workers.datasets.run_features import RunFeatures
from workers.errors import DataError
from workers.store.example_schema import flags_sha256

SEEN = np.array([True, False, True, True])
FEATURES = RunFeatures(
    train_features=np.arange(12, dtype=np.float32).reshape(4, 3),
    test_features=np.ones((2, 3), np.float32),
    train_labels=np.array([0, 1, 0, 1]),
    test_labels=np.array([0, 1]),
    given_labels=np.array([0, 1, 1, 1]),
    seen_by_encoder=SEEN,
    class_names=("cat", "dog"),
    encoder=Encoder(identity="1" * 64, run="r700000-000012", examples="2" * 64, seen_sha256=flags_sha256(SEEN)),
    model={"name": "mlp"},
    train_names=tuple("abcd"),
)


def loaded(path: Path) -> Dataset:
    return load_dataset(FeatureData(name="features", file=str(path)))


def saved(path: Path, arrays: Mapping[str, object], compression: int = zipfile.ZIP_STORED) -> Path:
    """An npz of arrays, or of whole `.npy` files as bytes."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            if isinstance(array, bytes):
                content.write(array)
            else:
                np.lib.format.write_array(content, np.asanyarray(array), allow_pickle=True)
            archive.writestr(f"{name}.npy", content.getvalue())
    return path


def claim(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """A `.npy` file without a value."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": descr, "fortran_order": False, "shape": shape})
    return content.getvalue()


def metadata(**changes: object) -> object:
    document = json.loads(bytes(FEATURES.arrays()["metadata"])) | changes
    return np.frombuffer(json.dumps(document).encode(), np.uint8)


def test_a_file_is_what_was_written(tmp_path: Path) -> None:
    write_features(FEATURES, tmp_path / "f.npz")
    dataset = loaded(tmp_path / "f.npz")
    np.testing.assert_array_equal(dataset.train_images, FEATURES.train_features)
    np.testing.assert_array_equal(dataset.test_labels, FEATURES.test_labels)
    assert dataset.train_names is not None
    assert (dataset.train_names.to_pylist(), dataset.test_names) == (["a", "b", "c", "d"], None)
    assert dataset.class_names == ("cat", "dog")
    assert "saw 3 of 4 examples" in dataset.notes[0]
    assert dataset.fingerprint == FEATURES.dataset.fingerprint
    no_tests = replace(FEATURES, test_features=np.zeros((0, 3), np.float32), test_labels=np.zeros(0, np.int64))
    write_features(no_tests, tmp_path / "f.npz")
    assert loaded(tmp_path / "f.npz").num_test == 0


NAN = np.where(np.arange(12).reshape(4, 3) == 7, np.nan, 1).astype(np.float32)
HOSTILE: dict[str, tuple[dict[str, object], str]] = {
    "objects": ({"train_labels": np.array([0, 1, 0, "x"], object)}, r"train_labels: must be int64 with one axis"),
    "float64": ({"train_features": np.zeros((4, 3))}, r"train_features: must be float32 with two axes, .* got float64"),
    "axes": ({"test_features": np.zeros(6, np.float32)}, r"test_features: must be float32 with two axes.*shape \[6\]"),
    "fortran": ({"train_features": np.asfortranarray(FEATURES.train_features)}, r"train_features: .* in C order"),
    "claims": ({"train_features": claim((4, 1 << 19))}, r"train_features: claims 8,388,608 bytes, and has 0"),
    "examples": ({"train_features": claim((1 << 40, 3))}, r"train_features: must have at most 16777216 x 1048576"),
    "bytes": (
        {"train_features": claim((1 << 24, 1 << 20))},
        r"train_features: .* 68,719,476,736 bytes, got 16777216 x",
    ),
    "width": ({"test_features": np.zeros((2, 4), np.float32)}, r"test_features: must have 3 features .*, got 4"),
    "count": ({"given_labels": np.zeros(3, np.int64)}, r"given_labels: must have a value for each of 4 .*, got 3"),
    "empty": ({"train_features": np.zeros((0, 3), np.float32)}, r"train_features: must not be empty"),
    "nan": ({"train_features": NAN}, r"train_features: must be finite, got NaN or infinity in example 2"),
    "labels": ({"train_labels": np.array([0, 1, 0, 7])}, r"train_labels: must be 0 to 1 .*, got 7 at example 3"),
    "seen": ({"seen_by_encoder": ~SEEN}, r"seen_by_encoder: does not have the hash in the metadata"),
    "changed": (
        {"train_features": np.ones((4, 3), np.float32)},
        r"was changed: its arrays do not have the fingerprint",
    ),
    "no metadata": ({"metadata": None}, r"metadata: is missing; longtail features STORE RUN -o FILE.npz writes"),
    "no json": ({"metadata": np.frombuffer(b"{" * 9, np.uint8)}, r"metadata: Invalid JSON"),
    "version": ({"metadata": metadata(format=2)}, r"metadata: format: Input should be less than or equal to 1"),
    "encoder": ({"metadata": metadata(encoder={"run": "r"})}, r"metadata: encoder.identity: Field required"),
    "names": ({"metadata": metadata(train_names=["a"])}, r"train_names: must have 4 names"),
    "no npy": ({"train_labels": b"zzz"}, r"train_labels: is not a whole .npz file"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused(what: str, tmp_path: Path) -> None:
    changes, text = HOSTILE[what]
    arrays = {name: array for name, array in {**FEATURES.arrays(), **changes}.items() if array is not None}
    path = saved(tmp_path / "f.npz", arrays)
    assert re.search(f"^{re.escape(str(path))}: {text}", error_of(lambda: loaded(path)))


def test_places_that_hold_no_features(tmp_path: Path) -> None:
    path = saved(tmp_path / "packed.npz", FEATURES.arrays(), zipfile.ZIP_DEFLATED)
    assert "train_features: must not be compressed" in error_of(lambda: loaded(path))
    (tmp_path / "text.npz").write_text("features")
    assert "text.npz: is not a whole .npz file: File is not a zip file" in error_of(
        lambda: loaded(tmp_path / "text.npz")
    )
    os.mkfifo(tmp_path / "pipe")
    for place, text in (("none.npz", "there is no such file; longtail features"), ("pipe", "must be a regular file")):
        assert text in error_of(lambda place=place: loaded(tmp_path / place))  # type: ignore[misc]


@given(st.data())
def test_a_damaged_file_is_found(data: st.DataObject) -> None:
    """One byte changed, or the end cut off: refused, or read as it was (some bytes of an archive mean nothing)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f.npz")
        write_features(FEATURES, path)
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            del content[place:]
        else:
            content[place] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        try:
            dataset = loaded(path)
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert dataset.fingerprint == FEATURES.dataset.fingerprint


def test_the_command_checks_its_output_first(tmp_path: Path) -> None:
    code, _, errors = call("features", tmp_path / "none", "1.0/0", "-o", tmp_path / "f.txt")
    assert (code, "--output must end with .npz" in errors) == (2, True)
    refused = replace(FEATURES, train_features=NAN)
    assert "must be finite" in error_of(lambda: write_features(refused, tmp_path / "f.npz"))
    assert not (tmp_path / "f.npz").exists()
