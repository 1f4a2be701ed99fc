"""Updates in one pass: Triton's kernels, interpreted on a CPU, against float64 and against PyTorch's own."""

import importlib
import sys
from collections.abc import Iterator
from subprocess import CalledProcessError
from typing import Any
from unittest.mock import Mock

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from workers.campaign.recipe import SGD, AdamW
from workers.models.stacking import Weight
from workers.training import elementwise_update
from workers.training.elementwise_update import ElementwiseUpdate

MODULE = "workers.training.triton_update"
SHAPES = [(3, 5, 7), (2, 1024), (1025,)]
STEPS = 3
Array = npt.NDArray[np.float64]


@pytest.mark.slow
def test_kernels_compile_for_a_gpu() -> None:
    """For an H100, which need not be there. Only what is said to be fused is fused, and no function is approximate."""
    pytest.importorskip("triton", reason="Triton comes with PyTorch's builds for CUDA alone")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    module: Any = importlib.import_module(MODULE)
    try:
        for kernel, constants in (
            (module._sgd_update, {"keep": 0.9, "decay": 0.01, "nesterov": True}),
            (module._adamw_update, module.TritonAdamW(None, None, None, None, AdamW(name="adamw")).constants),
        ):
            fixed = {**constants, "block": 1024}
            types = {"gradient": "*bf16", "working": "*i16", "count": "i32"} | dict.fromkeys(fixed, "constexpr")
            signature = {name: types.get(name, "*fp32") for name in kernel.arg_names}
            source = ASTSource(fn=kernel, signature=signature, constexprs=fixed)
            compiled = compile(source, target=GPUTarget("cuda", 90, 32), options=module._OPTIONS)
            assert "fma.rn.f64" in compiled.asm["ptx"]
            assert "fma.rn.f32" not in compiled.asm["ptx"]
            assert "sqrt.approx" not in compiled.asm["ptx"]
            assert len(compiled.asm["cubin"]) > 0
    finally:
        del sys.modules[MODULE]


@pytest.fixture(scope="module")
def kernels() -> Iterator[Any]:
    """The module, its kernels interpreted: Triton reads the variable when they are defined."""
    pytest.importorskip("triton", reason="Triton comes with PyTorch's builds for CUDA alone")
    import triton  # first, so that nothing but the module's own kernels is interpreted

    assert triton
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        yield importlib.import_module(MODULE)
    del sys.modules[MODULE]


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def strided(tensor: torch.Tensor) -> torch.Tensor:
    """The same values, the axes in reverse order in memory."""
    axes = tuple(reversed(range(tensor.ndim)))
    return tensor.permute(axes).contiguous().permute(axes)


def single(values: Any) -> Array:
    """Rounded to float32, as float64."""
    rounded: Array = np.asarray(values, dtype=np.float64).astype(np.float32).astype(np.float64)
    return rounded


def sgd(config: SGD, rate: float, w: Array, v: Array, g: Array) -> tuple[Array, Array]:
    """A step in float64, rounded where the kernel keeps a float32."""
    g = single(g + config.weight_decay * w)
    v = single(config.momentum * v + g) if config.momentum else v
    step = single(g + config.momentum * v) if config.nesterov else (v if config.momentum else g)
    return single(w - rate * step), v


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(
    "config",
    [
        SGD(momentum=0.9, nesterov=True, weight_decay=0.01),
        SGD(momentum=0.85, weight_decay=5e-4),
        SGD(momentum=0.9),
        SGD(momentum=0.0),
    ],
    ids=["nesterov", "decay", "momentum", "plain"],
)
def test_sgd(kernels: Any, config: SGD, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    master = drawn(shape, 1)
    weight = Weight(master.clone(), nn.Parameter(master.to(torch.bfloat16)))
    momentum = torch.zeros(shape)
    update = kernels.TritonSGD(weight, momentum, config)
    w, v = single(master.numpy()), np.zeros(shape)
    for step in range(STEPS):
        rate = torch.tensor(0.1 / (step + 1))
        gradient = drawn(shape, 10 + step).to(dtype)
        update.apply(strided(gradient) if step else gradient, rate)
        w, v = sgd(config, float(rate), w, v, single(gradient.float().numpy()))
        assert np.array_equal(weight.master.numpy(), w)
        assert np.array_equal(momentum.numpy(), v)
        assert torch.equal(weight.working.detach(), weight.master.to(torch.bfloat16))


def adamw(config: AdamW, rate: float, step: int, w: Array, m: Array, s: Array, g: Array) -> tuple[Array, Array, Array]:
    """A step in float64 throughout."""
    w = w - rate * config.weight_decay * w
    m, s = config.beta1 * m + (1 - config.beta1) * g, config.beta2 * s + (1 - config.beta2) * g * g
    mean, square = m / (1 - config.beta1**step), s / (1 - config.beta2**step)
    return w - rate * mean / (np.sqrt(square) + config.epsilon), m, s


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize(
    "config",
    [AdamW(name="adamw", learning_rate=0.01, weight_decay=0.1), AdamW(name="adamw", beta1=0.0, weight_decay=0.0)],
    ids=["decay", "no mean"],
)
def test_adamw(kernels: Any, config: AdamW, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    master = drawn(shape, 1)
    weight = Weight(master.clone(), nn.Parameter(master.to(torch.bfloat16)))
    first, second, steps = torch.zeros(shape), torch.zeros(shape), torch.zeros(())
    update = kernels.TritonAdamW(weight, first, second, steps, config)
    w, m, s = single(master.numpy()), np.zeros(shape), np.zeros(shape)
    for step in range(1, STEPS + 1):
        rate = torch.tensor(config.learning_rate / step)
        gradient = drawn(shape, 10 + step).to(dtype)
        update.apply(strided(gradient) if step > 1 else gradient, rate)
        w, m, s = adamw(config, float(rate), step, w, m, s, single(gradient.float().numpy()))
        np.testing.assert_allclose(weight.master.numpy(), w, rtol=2e-6, atol=1e-7)
        np.testing.assert_allclose(first.numpy(), m, rtol=2e-6, atol=1e-7)
        np.testing.assert_allclose(second.numpy(), s, rtol=2e-6, atol=1e-9)
        assert torch.equal(weight.working.detach(), weight.master.to(torch.bfloat16))
    assert float(steps) == STEPS


@pytest.mark.parametrize(
    "config", [SGD(momentum=0.9, nesterov=True, weight_decay=0.01), AdamW(name="adamw")], ids=["sgd", "adamw"]
)
def test_a_step_is_that_of_pytorchs_fused_kernels(
    kernels: Any, config: SGD | AdamW, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through `ElementwiseUpdate`; on a CPU PyTorch's kernels compute in float32."""

    def trained(rate: Any) -> ElementwiseUpdate:
        masters = [drawn((64, 33), 1), drawn((5,), 2)]
        weights = [Weight(master, nn.Parameter(master.to(torch.bfloat16))) for master in masters]
        update = ElementwiseUpdate(dict(enumerate(weights)), config)
        update.rate.value = rate
        for step in range(STEPS):
            update.apply([drawn((64, 33), 10 + step).to(torch.bfloat16), drawn((5,), 20 + step).to(torch.bfloat16)])
        return update

    monkeypatch.setattr(elementwise_update, "_one_pass_update", lambda *arguments: None)
    expected = trained(0.05)
    monkeypatch.setattr(elementwise_update, "_one_pass_update", kernels.one_pass_update)
    update = trained(torch.tensor(0.05))
    for name, tensor in update.tensors().items():
        torch.testing.assert_close(tensor, expected.tensors()[name], rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(update.weights, expected.weights, strict=True):
        torch.testing.assert_close(ours.working, theirs.working, rtol=1e-2, atol=1e-6)


def test_special_values(kernels: Any) -> None:
    """Ties of rounding to bfloat16, overflow, infinities, NaN."""
    values = torch.tensor([1.00390625, 1.01171875, 3.4e38, -0.0, 1e-39, torch.inf, -torch.inf, torch.nan])
    weight = Weight(values.clone(), nn.Parameter(torch.zeros(8, dtype=torch.bfloat16)))
    update = kernels.TritonSGD(weight, torch.zeros(8), SGD(momentum=0.9))
    update.apply(torch.zeros(8, dtype=torch.bfloat16), torch.tensor(0.1))
    assert torch.equal(weight.master.nan_to_num(7.0, 8.0, 9.0), values.nan_to_num(7.0, 8.0, 9.0))
    expected = values.to(torch.bfloat16)
    assert torch.equal(weight.working.detach().nan_to_num(7.0), expected.nan_to_num(7.0))


def test_a_device_without_working_kernels_is_not_supported(kernels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's update is used there. An error of Longtail's own is none of the device's, and passes through."""
    from triton.errors import TritonError

    assert kernels.is_supported(torch.device("cpu"))
    assert not kernels.is_supported(torch.device("cuda", 99))
    for error in (TritonError(), CalledProcessError(1, "cc"), PermissionError("cache"), KeyError("option")):
        monkeypatch.setattr(kernels.TritonSGD, "apply", Mock(side_effect=error))
        assert not kernels.is_supported(torch.device("cpu"))
    monkeypatch.setattr(kernels.TritonSGD, "apply", lambda *arguments: None)
    assert not kernels.is_supported(torch.device("cpu")), "the weight stayed as it was"
    monkeypatch.setattr(kernels.TritonSGD, "apply", Mock(side_effect=NameError("ours")))
    with pytest.raises(NameError):
        kernels.is_supported(torch.device("cpu"))


def test_without_triton_the_update_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    elementwise_update.triton_update_factory.cache_clear()
    assert elementwise_update.triton_update_factory(torch.device("cuda", 99)) is None
