"""The command line: exit codes, messages, and what a careless user meets."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from benchmarks.isolation import ROOT, longtail, wait_until
from orchestrator.presets import NAMES, preset_text
from tests.command import call
from tests.conftest import small_campaign
from tests.stores import new_store, powerless, results
from workers.campaign.keys import Shard
from workers.campaign.yaml_io import dump_campaign, parse_campaign, read_campaign


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    """The file of a small campaign."""
    path = tmp_path / "campaign.yaml"
    path.write_text(dump_campaign(small_campaign()))
    return path


@pytest.mark.slow
def test_from_init_to_estimates(tmp_path: Path) -> None:
    code, output, _ = call("init", "digits", "-o", tmp_path / "c.yaml")
    assert (code, "next: longtail run" in output) == (0, True)
    text = (tmp_path / "c.yaml").read_text()
    (tmp_path / "c.yaml").write_text(text.replace("epochs: 30", "epochs: 2").replace("400", "4"))
    code, output, _ = call("plan", tmp_path / "c.yaml")
    assert (code, "4 runs to train in 1 shard of" in output) == (0, True)
    code, output, progress = call("run", tmp_path / "c.yaml", "--store", tmp_path / "s")
    store = tmp_path / "s"
    told = f"4 of 4 runs in {store} (4 trained now, 0 diverged)\nnext: longtail estimate {store}\n"
    assert (code, output) == (0, told), "results on standard output, progress on standard error"
    assert "4/4 runs, " in progress and "data: 1,437 training" in progress
    code, output, _ = call("plan", tmp_path / "c.yaml", "--store", tmp_path / "s", "--repetitions", 6)
    assert "2 runs to train" in output
    code, output, _ = call("status", tmp_path / "s")
    assert "4 of 4 runs" in output
    code, output, _ = call("estimate", tmp_path / "s")
    assert output.count(".parquet") == 7
    code, output, _ = call("verify", tmp_path / "s")
    assert (code, output) == (0, "10 files checked, 0 damaged\n")


@pytest.mark.parametrize("name", NAMES)
def test_init_prints_presets(name: str, tmp_path: Path) -> None:
    code, output, _ = call("init", name)
    assert code == 0
    (tmp_path / "c.yaml").write_text(output)
    assert read_campaign(tmp_path / "c.yaml") == parse_campaign(preset_text(name)).with_absolute_paths(tmp_path)


def test_init_never_overwrites_unasked(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("precious")
    code, _, error = call("init", "digits", "-o", path)
    assert (code, path.read_text()) == (2, "precious")
    assert error == f"error: {path}: exists already; --force replaces it\n"
    assert call("init", "digits", "-o", path, "--force")[0] == 0
    assert call("init", "digits", "-o", tmp_path / "no" / "c.yaml")[0] == 2


def test_every_mistake_of_a_campaign_file_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("recipe: {epochs: 0, batch_size: x}\nsubsets: {ratios: [3], repetitions: 1}")
    code, output, error = call("run", path, "--store", tmp_path / "s")
    assert (code, output) == (2, "")
    assert error.splitlines() == [
        f"error: {path}: recipe.epochs: must be greater than or equal to 1, got 0",
        f"error: {path}: recipe.batch_size: must be a valid integer, got 'x'",
        f"error: {path}: subsets.ratios.0: must be greater than 0, at most 1, with at most 6 decimals, got 3.0",
    ]
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_failures_are_listed_and_the_exit_code_says_so(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(dump_campaign(small_campaign(model={"name": "user_code:raising_model"})))
    code, _, error = call("run", path, "--store", tmp_path / "s")
    assert code == 1
    assert "failed: r200000-000000-000003: RuntimeError: the user's own mistake (traceback: " in error
    code, output, _ = call("status", tmp_path / "s")
    assert "failed: r200000-000000-000003 after 2 attempts: RuntimeError: the user's own mistake" in output


@pytest.mark.slow
def test_the_demo_ends_with_who_is_memorized_and_a_report(tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    code, output, errors = call("demo", "--store", tmp_path / "s", "--runs", 40, "-o", page)
    assert code == 0, errors
    assert output.splitlines()[-1].strip() == str(page)
    missing = re.findall(r"Not shown\. [^<]*", page.read_text())
    assert missing == ["Not shown. A profile needs runs at two ratios under 1 or more."]
    assert "Most memorized digits" in output
    assert "Strongest influence pairs" in output
    assert str(tmp_path / "s" / "estimates" / "memorization.parquet") in output
    assert yaml.safe_load((tmp_path / "s" / "campaign.json").read_text())["dataset"] == "digits"


@pytest.mark.slow
def test_interrupted_with_code_beside_the_campaign(tmp_path: Path) -> None:
    """By SIGTERM, which ends a command as Ctrl-C does: tests/one_cluster.py sends both."""
    (tmp_path / "my_model.py").write_text(
        "import torch\n"
        "def build(input_shape, num_classes):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))\n"
    )
    campaign = small_campaign(model={"name": "my_model:build"}, subsets={"ratios": [0.5], "repetitions": 5000})
    (tmp_path / "c.yaml").write_text(dump_campaign(campaign))
    store = tmp_path / "s"
    process = subprocess.Popen(
        longtail("run", "c.yaml", "--store", "s", "--shard-size", "1"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert wait_until(lambda: any(store.glob("results/r*")), process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "interrupted; what is in s stays, and the same command resumes" in output
    assert "Traceback" not in output
    assert list(store.glob("**/_new-*")) == []
    assert call("verify", store)[0] == 0


def test_a_read_only_store_can_be_read(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    store.commit(Shard(500_000, 0, 2), results(Shard(500_000, 0, 2)))
    for path in [tmp_path / "s", *(tmp_path / "s").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert call("status", tmp_path / "s")[0] == 0
    assert call("verify", tmp_path / "s")[0] == 0
    for path in [tmp_path / "s", *(tmp_path / "s").rglob("*")]:
        path.chmod(0o755)


def test_estimates_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    from analysis import write_estimates
    from workers.errors import StoreError

    store = new_store(tmp_path / "s")
    store.commit(Shard(500_000, 0, 2), results(Shard(500_000, 0, 2)))
    (tmp_path / "s").chmod(0o555)
    for path in tmp_path.parents:
        if path.owner() == "root" and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    tmp_path.chmod(0o755)
    with powerless(), pytest.raises(StoreError, match=r"s/estimates/forgetting.parquet: Permission denied"):
        write_estimates(store)


def test_damage_is_reported_and_repaired(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    store.commit(Shard(500_000, 0, 2), results(Shard(500_000, 0, 2)))
    victim = tmp_path / "s" / "results" / "r500000-000000-000002.parquet"
    victim.write_bytes(b"PAR1" + victim.read_bytes()[4:-4])
    code, output, error = call("verify", tmp_path / "s")
    assert (code, output) == (1, "2 files checked, 1 damaged\n")
    assert error.startswith(f"{victim}: is damaged")
    cure = f"longtail verify {store.uri} --repair sets damaged files aside; then the same longtail run, or import,"
    assert error.splitlines()[1].startswith(cure)
    code, output, error = call("status", tmp_path / "s")
    assert (code, "0 of 0 runs" in output, error.startswith(f"damaged: {victim}: is damaged")) == (1, True, True)
    code, _, error = call("estimate", tmp_path / "s")
    assert (code, error.splitlines()[-1].startswith(f"error: {victim}: is damaged")) == (1, True)
    assert f"(longtail verify {store.uri} --repair sets it aside; " in error
    code, _, error = call("verify", tmp_path / "s", "--repair")
    assert (code, f"(set aside as {tmp_path}/s/damaged/{victim.name})" in error) == (0, True)
    assert call("status", tmp_path / "s")[0] == 0


def test_compaction_from_the_command_line(tmp_path: Path) -> None:
    store = new_store(tmp_path / "s")
    for start in (0, 2, 4):
        store.commit(Shard(500_000, start, start + 2), results(Shard(500_000, start, start + 2)))
    victim = tmp_path / "s" / "results" / "r500000-000004-000006.parquet"
    victim.write_bytes(b"PAR1")
    code, output, error = call("compact", tmp_path / "s", "--grace", "0")
    assert (code, output) == (1, f"{store.uri}: 3 result files before, 2 now\n")
    assert error == f"{victim}: is damaged: is not a whole Parquet file (left as it is; see longtail verify)\n"
    assert call("verify", tmp_path / "s", "--repair")[0] == 0
    assert call("compact", tmp_path / "s")[:2] == (0, f"{store.uri}: 1 result file before, 1 now\n")


@pytest.mark.slow
def test_a_command_imports_only_what_it_uses(tmp_path: Path, campaign: Path) -> None:
    """One command after the other in one process, those with the fewest imports first."""
    store, lists, tables = tmp_path / "s", tmp_path / "pairs.csv", tmp_path / "tables"
    assert call("run", campaign, "--store", store)[0] == 0
    compiler, heavy = ["torch._dynamo"], ["ray", "matplotlib", "sklearn", "scipy.optimize"]
    few = ["numba", "joblib"]  # numba only where there are many pairs
    steps: list[tuple[list[object], list[str]]] = [
        (["--help"], [*compiler, *heavy, "torch", "pandas", "pyarrow", "numpy", "pydantic"]),
        (["init", "digits", "-o", tmp_path / "new.yaml"], [*compiler, *heavy, "torch", "pandas", "pyarrow", "numpy"]),
        (["status", store], [*compiler, *heavy, "torch", "pandas", "scipy", "numba"]),
        (["verify", store], [*compiler, *heavy, "torch"]),
        (["influence", store, "--ratio", "0.6", "-o", lists], [*compiler, *heavy, *few, "torch"]),
        (["estimate", store, "-o", tables], [*compiler, *heavy, *few, "torch"]),
        (["compact", store], [*compiler, *heavy, *few, "torch"]),
        (["plan", campaign, "--store", store], [*compiler, *few, "ray", "matplotlib", "sympy"]),
        (["run", campaign, "--store", tmp_path / "again"], [*compiler, *few, "ray", "matplotlib", "sympy"]),
    ]
    script = (
        "import json, sys\nfrom orchestrator.cli.app import app\nfrom typer.testing import CliRunner\n"
        "for words, unused in json.loads(sys.argv[1]):\n"
        "    done = CliRunner().invoke(app, words)\n"
        "    assert done.exit_code == 0, (words, done.output, done.exception)\n"
        "    assert not set(unused) & set(sys.modules), (words, set(unused) & set(sys.modules))\n"
    )
    given = json.dumps([[[str(word) for word in words], unused] for words, unused in steps])
    done = subprocess.run([*longtail()[:2], script, given], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_version_is_the_distributions() -> None:
    code, output, _ = call("--version")
    assert (code, output.startswith("longtail 0.")) == (0, True)
