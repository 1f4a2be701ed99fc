"""Fixtures that all tests share."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import settings

from workers.campaign.campaign import Campaign
from workers.campaign.yaml_io import check_campaign

# A shell without job control starts what it puts into the background with Ctrl-C ignored; the tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests open no windows, also where there is a display.
os.environ["MPLBACKEND"] = "agg"

# Ray gives its workers the niceness 15: beside other tests, linters and type checks they would get next to no time.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - as Ray spells it

# How long an example takes says nothing on machines that are shared. Every session draws other examples; `make check`,
# which runs often, draws few.
settings.register_profile("longtail", deadline=None, max_examples=40)
settings.register_profile("quick", deadline=None, max_examples=10)
settings.load_profile("longtail")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every worker of pytest-xdist begins with its part of the tests that start Ray: none of them is left for the end.

    Tests of one cluster are one worker's. With `--dist worksteal` a worker is first given a contiguous part of the
    list, all of them equally many.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("ray")]
    others = [item for item in items if not item.get_closest_marker("ray")]
    on_one_cluster = [item for item in long if "one_cluster" in getattr(item, "fixturenames", ())]
    clusters = [[item] for item in long if item not in on_one_cluster]
    clusters = [on_one_cluster, *clusters] if on_one_cluster else clusters
    ordered: list[pytest.Item] = []
    for number in range(workers):
        share = [item for cluster in clusters[number::workers] for item in cluster]
        size = len(items) * (number + 1) // workers - len(ordered) - len(share)
        ordered += share + others[:size]
        del others[:size]
    items[:] = ordered


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set cache of this test session, never the user's own."""
    path = tmp_path_factory.mktemp("cache")
    os.environ["LONGTAIL_CACHE"] = str(path)
    return path


@pytest.fixture(scope="session", autouse=True)
def user_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a user's own module, `user_code`, on the path of this process and of those that it starts."""
    path = tmp_path_factory.mktemp("user")
    shutil.copy(Path(__file__).with_name("user_code.py"), path)
    sys.path.insert(0, str(path))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(path), os.environ.get("PYTHONPATH")]))
    return path


@pytest.fixture(autouse=True)
def no_figure_stays() -> Iterator[None]:
    """Figures that pyplot holds for a notebook are closed after each test."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(autouse=True)
def ctrl_c_stays() -> Iterator[None]:
    """What a test does to Ctrl-C ends with it; a test that leaves another handler fails."""
    yield
    left = signal.signal(signal.SIGINT, signal.default_int_handler)
    assert left is signal.default_int_handler, f"the test left {left} as the handler of SIGINT"


@pytest.fixture
def small() -> Campaign:
    """A digits campaign that trains in moments: two ratios, three repetitions, tiny model."""
    return small_campaign()


BUSY_RUNS = 32


def busy_campaign() -> Campaign:
    """A digits campaign of BUSY_RUNS runs that take a while each: long enough to be killed many times."""
    return small_campaign(
        model={"name": "mlp", "hidden": [64]},
        recipe={"epochs": 12, "batch_size": 32},
        subsets={"ratios": [0.3, 0.7], "repetitions": BUSY_RUNS // 2, "seed": 1},
    )


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the busy campaign in shards of 2, trained in this process in peace."""
    from orchestrator import run_campaign

    store = tmp_path_factory.mktemp("undisturbed") / "s"
    run_campaign(busy_campaign(), store, shard_size=2, runner="local")
    return store


@pytest.fixture(scope="session")
def one_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which commands were carried out on one Ray cluster: see tests.one_cluster."""
    from tests.one_cluster import run_cluster

    folder = tmp_path_factory.mktemp("one-cluster")
    run_cluster(folder)
    return folder


def small_campaign(**changes: object) -> Campaign:
    """The campaign of `small`, with top-level parts replaced."""
    document: dict[str, object] = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [8]},
        "recipe": {"epochs": 2, "batch_size": 256},
        "subsets": {"ratios": [0.2, 0.6], "repetitions": 3, "seed": 5},
    }
    return check_campaign({**document, **changes})


@pytest.fixture
def write_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes columns as f.parquet into the current folder, which is a fresh one."""
    monkeypatch.chdir(tmp_path)

    def written(**columns: object) -> str:
        pd.DataFrame(columns).to_parquet("f.parquet", index=False)
        return "f.parquet"

    return written
