"""What is downloaded, where to, and who has to ask for it. Nothing here reaches a network."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from tests.conftest import small_campaign
from tests.datasets.support import write_mnist
from workers.campaign.yaml_io import dump_campaign
from workers.errors import CampaignError, DataError, LongtailError


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The addresses that were requested."""
    found: list[str] = []

    def refuse(request: urllib.request.Request, *args: Any, **options: Any) -> None:
        found.append(request.full_url)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", refuse)
    monkeypatch.setenv("LONGTAIL_CACHE", str(tmp_path / "cache"))
    return found


def command(folder: Path, verb: str, *words: object, **dataset: object) -> tuple[type[LongtailError], list[str]]:
    """(the error, the lines printed and the error's own) of a command on a campaign file in `folder`; it must fail."""
    folder.mkdir(exist_ok=True)
    campaign = small_campaign(dataset=dataset, subsets={"ratios": [0.5], "repetitions": 1})
    (folder / "c.yaml").write_text(dump_campaign(campaign))
    store = ["--store", str(folder / "s")] if verb == "run" else []
    result = CliRunner().invoke(app, [verb, str(folder / "c.yaml"), *store, *map(str, words)])
    assert isinstance(result.exception, LongtailError)
    return type(result.exception), [*result.output.splitlines(), str(result.exception)]


def tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("name", ["plan", "run"])
@pytest.mark.parametrize(
    ("kind", "given", "up"),
    [
        ("mnist", "data/MNIST", ".."),
        ("mnist", "data/MNIST/raw", "../.."),
        ("mnist", ".", "data"),
        ("emnist", "data/EMNIST", ".."),
        ("cifar10", "data/cifar-10-batches-py", ".."),
        ("cifar100", "data/cifar-100-python", ".."),
        ("svhn", ".", "data"),
    ],
)
def test_a_root_that_is_a_level_off_is_told(
    name: str, kind: str, given: str, up: str, tmp_path: Path, asked: list[str]
) -> None:
    data = tmp_path / "w" / "data"
    write_mnist(data / "MNIST" / "raw", pack=True)
    write_mnist(data / "EMNIST" / "raw" / "gzip", names=("emnist-balanced-train", "emnist-balanced-test"), pack=True)
    for file in (
        *(
            f"cifar-10-batches-py/{each}"
            for each in ("test_batch", "batches.meta", *map("data_batch_{}".format, range(1, 6)))
        ),
        *("cifar-100-python/train", "cifar-100-python/test", "cifar-100-python/meta"),
        *("train_32x32.mat", "test_32x32.mat"),
    ):
        (data / file).parent.mkdir(exist_ok=True)
        (data / file).write_bytes(b"")
    before = tree(data)
    for download in (True, False):
        error, lines = command(tmp_path / "w", name, name=kind, root=given, download=download)
        assert (error, len(lines)) == (DataError, 1)
        assert lines[0].endswith(f"found in {up}: set dataset.root to {data}")
    assert (tree(data), asked) == (before, [])


@pytest.mark.parametrize("kind", ["mnist", "emnist", "cifar10", "cifar100", "svhn"])
def test_plan_downloads_nothing_and_makes_no_folder(kind: str, tmp_path: Path, asked: list[str]) -> None:
    for download, advice in ((True, "longtail run downloads it"), (False, "set dataset.download to true")):
        error, lines = command(tmp_path / "w", "plan", name=kind, root="data", download=download)
        assert (error, len(lines), advice in lines[0]) == (DataError, 1, True)
    assert (asked, (tmp_path / "w" / "data").exists()) == ([], False)


def test_run_downloads_where_the_file_asks_for_it_and_says_so_before(tmp_path: Path, asked: list[str]) -> None:
    error, lines = command(tmp_path / "w", "run", name="mnist", root="data")
    assert (error, len(lines), asked) == (DataError, 1, [])
    for root in (tmp_path / "w" / "data", tmp_path / "cache" / "data"):
        asked.clear()
        error, lines = command(tmp_path / "w", "run", name="mnist", root=str(root), download=True)
        assert (error, lines[0], bool(asked)) == (DataError, f"downloading mnist to {root}", True)


@pytest.mark.parametrize(
    "inside", ["", "data", "data/MNIST", "data/MNIST/raw", "data/MNIST/raw/t10k-images-idx3-ubyte.gz"]
)
def test_a_campaign_file_downloads_into_its_own_folder_only(inside: str, tmp_path: Path, asked: list[str]) -> None:
    """Neither elsewhere, nor through a link that came with it."""
    outside = tmp_path / "mine"
    outside.mkdir()
    (outside / "t10k-images-idx3-ubyte.gz").write_text("precious")
    root = str(outside)
    if inside:
        link, root = tmp_path / "w" / inside, "data"
        link.parent.mkdir(parents=True)
        link.symlink_to(outside / link.name if link.suffix else outside)
    told = "outside of the campaign file's folder: with --download it is downloaded there"
    error, lines = command(tmp_path / "w", "run", name="mnist", root=root, download=True)
    assert (error, len(lines), told in lines[0]) == (CampaignError, 1, True)
    assert (asked, [path.name for path in tree(outside)]) == ([], ["t10k-images-idx3-ubyte.gz"])
    error, lines = command(tmp_path / "w", "run", "--download", name="mnist", root=root)
    assert (error, lines[0].startswith("downloading mnist to "), bool(asked)) == (DataError, True, True)
