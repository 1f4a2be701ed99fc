"""`python -m benchmarks.gpu` without a GPU: its rows, its end in time, and the arithmetic of its profile."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.gpu import cases, correctness, kinds
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.cases import Case
from benchmarks.gpu.device_profile import Spent
from benchmarks.gpu.floor import DeviceRates, model_work
from benchmarks.gpu.journal import Journal, NotMeasuredError, Row, Values
from benchmarks.gpu.peers import measure_script
from benchmarks.measure import PeerError
from benchmarks.workloads import Sizes, make_workload
from tests.conftest import small_campaign

KERNELS = {
    "nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNT": kinds.PRODUCTS,
    "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64": kinds.PRODUCTS,
    "aten::bmm": kinds.PRODUCTS,
    "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc": kinds.CONVOLUTIONS,
    "sm80_xmma_wgrad_implicit_gemm_indexed_bf16bf16": kinds.CONVOLUTIONS,
    "void cudnn::bn_fw_tr_1C11_kernel_NHWC<float, ...>": kinds.NORMALISATION,
    "void at::native::(anonymous namespace)::max_pool_backward_nhwc<c10::BFloat16, float>": kinds.NORMALISATION,
    "void at::native::vectorized_elementwise_kernel<4, at::native::GeluCUDAKernelImpl(...)>": kinds.NORMALISATION,
    "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<FusedSgdMathFunctor<float, 3>>": kinds.OPTIMISER,
    "_sgd_update": kinds.OPTIMISER,
    "Memcpy DtoD (Device -> Device)": kinds.COPIES,
    "void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda(...)>": kinds.COPIES,
    "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float>>": kinds.OTHER,
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_told_by_their_names(name: str) -> None:
    assert kinds.kind_of(name) == KERNELS[name]


def test_kernels_of_several_streams_are_busy_once() -> None:
    assert kinds.busy_time([(5, 6), (0, 2), (1, 3), (1, 2), (3, 4)]) == 5


def test_a_profile_is_five_lines_of_shares() -> None:
    lines = Spent(4.0, 3.0, {kinds.PRODUCTS: 1.0, kinds.COPIES: 0.5, kinds.OTHER: 1.5}, {}).lines()
    assert (len(lines), lines[0]) == (5, "matrix products 25.0%")
    assert lines[-1] == "copies and casts 12.5%, other 37.5%, host gaps 25.0%"


def test_the_floor_is_what_was_counted_by_hand() -> None:
    """The MLP 512-256 of MNIST: gpu.md's 20 bytes a weight, and two operations a multiply-add."""
    campaign = make_workload("mnist", Sizes(mnist_root=Path())).campaign
    work = model_work(campaign, (1, 28, 28), 10, "bfloat16")
    weights = 784 * 512 + 512 * 256 + 256 * 10
    step = work.step(128)
    assert step.update_bytes == 20 * (weights + 512 + 256 + 10)
    assert step.operations == 128 * 2 * (3 * weights - 784 * 512)
    assert step.activation_bytes == 5 * 2 * 128 * (512 + 256 + 10)
    assert step.seconds(DeviceRates(1e12, 1e12)) == pytest.approx(
        (step.operations + step.update_bytes + step.activation_bytes) / 1e12
    )
    assert model_work(campaign, (1, 28, 28), 10, "float32").step(128).update_bytes == step.update_bytes
    evaluation = work.evaluation(1000, 2)
    assert (evaluation.operations, evaluation.update_bytes) == (2000 * 2 * weights, 0)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_are_written_as_they_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cut loses one row: the others are in the file; a row that raises, or that there is no time for, is said."""

    def raising(error: BaseException) -> Callable[[], Values]:
        def measure() -> Values:
            raise error

        return measure

    path = tmp_path / "rows.jsonl"
    journal = Journal(path, 1.0, {"device": "cpu"})
    journal.add(Row("a", "good", lambda: {"x": 1.5, "equal": True, "_kernels": {}}))
    journal.add(Row("a", "bad", lambda: {"equal": False}, passed=correctness.passed))
    journal.add(Row("a", "open", raising(NotMeasuredError("no peer"))))
    journal.add(Row("a", "broken", raising(RuntimeError("no memory\nat all"))))
    journal.add(Row("a", "late", dict, expected=61))
    with pytest.raises(KeyboardInterrupt):
        journal.add(Row("a", "cut", raising(KeyboardInterrupt())))
    rows = rows_of(path)
    assert [row["status"] for row in rows] == ["ok", "FAILED", "not measured", "FAILED", "not measured"]
    assert (journal.failed, journal.open) == (2, 2)
    assert rows[3]["error"] == "RuntimeError: no memory"
    assert rows[4]["reason"].startswith("would take 61 s, and ")
    assert "a: good: ok: x 1.5, equal yes, seconds" in capsys.readouterr().out


def test_all_models_and_engines_are_there() -> None:
    planned = cases.all_cases()
    assert {case.model for case in planned} == set(cases.MODELS)
    for model in cases.MODELS:
        of_model = [case for case in planned if case.model == model]
        assert {case.precision for case in of_model} == {"float32", "bfloat16"}
        assert {case.augmented for case in of_model} == {False, True}
        assert 0 in {case.stack for case in of_model}
    assert len({case.name for case in planned}) == len(planned)
    for case in planned:
        assert case.campaign().recipe.precision == case.precision


@pytest.mark.slow
def test_a_case_is_trained_twice_killed_and_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole command on the CPU, with a child process that is killed in mid-run."""
    out = tmp_path / "rows.jsonl"
    words = ["--device", "cpu", "--section", "correctness", "--only", "mlp, stacks of 2", "--minutes", "30"]
    assert main([*words, "--out", str(out)]) == 0
    (row,) = rows_of(out)
    assert all(row[name] for name in ("trains", "twice equal", "killed", "resumed in mid-run", "resumed equal"))
    assert "1 rows: 0 failed, 0 not measured" in capsys.readouterr().out


@pytest.mark.slow
def test_bits_that_differ_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second training starts from another seed; nothing is killed or saved."""
    case = Case("mlp", 1, "float32", augmented=False)
    seeds = iter((3, 4, 3))
    planned = Case.campaign

    def other_seed(self: Case) -> Any:
        campaign = planned(self)
        return campaign.model_copy(update={"subsets": campaign.subsets.model_copy(update={"seed": next(seeds, 3)})})

    monkeypatch.setattr(Case, "campaign", lambda self: planned(self))
    data = correctness._data(case, "cpu")
    monkeypatch.setattr(Case, "campaign", other_seed)
    monkeypatch.setattr(correctness, "_data", lambda case, device: data)
    children: Any = SimpleNamespace(train_and_be_killed=lambda case, folder: 0)
    values = correctness.check_case(case, "cpu", children)
    assert not values["twice equal"]
    assert not values["killed"]
    assert not values["resumed in mid-run"]
    assert values["resumed equal"]
    assert not correctness.passed(values)


@pytest.mark.slow
def test_a_profile_on_the_cpu() -> None:
    from benchmarks.gpu.device_profile import profile_campaign

    threads = torch.get_num_threads()
    campaign = small_campaign(subsets={"ratios": [0.3], "repetitions": 4})
    values = profile_campaign(campaign, "cpu")
    assert torch.get_num_threads() == threads
    assert len(values["_lines"]) == 5
    assert values["stack"] == 4
    assert values["times the floor"] > 1
    assert any(kinds.kind_of(name) == kinds.PRODUCTS for name in values["_kernels"])


def test_rows_that_need_a_gpu_are_left_open(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    assert main(["--device", "cpu", "--section", "update", "--out", str(out)]) == 0
    rows = rows_of(out)
    assert {row["status"] for row in rows} == {"not measured"}
    assert {row["reason"] for row in rows} == {"needs a GPU for which Triton can compile"}


def test_a_script_of_the_users_own_is_a_peer(tmp_path: Path) -> None:
    script, work = tmp_path / "peer.py", make_workload("digits", Sizes())
    script.write_text("import sys\nprint('training', sys.argv[1])\nprint('{\"models\": 3, \"seconds\": 1.5}')")
    assert measure_script(work, "mine", script, 60).rate == 2
    script.write_text("print('done')")
    with pytest.raises(PeerError, match="last line is no JSON object"):
        measure_script(work, "mine", script, 60)
    script.write_text("raise SystemExit('no data')")
    with pytest.raises(PeerError, match="the script failed: no data"):
        measure_script(work, "mine", script, 60)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--peer", "jax"], "--peer: must be NAME=PATH of a file, got 'jax'"),
        (["--peer", "jax=nowhere.py"], "--peer: must be NAME=PATH of a file, got 'jax=nowhere.py'"),
        (["--out", "nowhere/rows"], "--out: must be in a folder that exists, got nowhere/rows"),
        (["--section", "profile", "--only", "vit"], "--only: no row has 'vit' in its name"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", *words]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
