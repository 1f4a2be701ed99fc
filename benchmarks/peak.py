"""The machine's matrix peak: the best rate of large square matrix products on all its cores or GPUs together.

On a CPU the best of two libraries counts: torch multiplies float32 matrices with MKL, which on some processors is far
slower than oneDNN, and a share of a peak that the machine can beat would flatter everybody. A precision without
instructions of its own is left out: such products are emulated, thousands of times slower, or refused.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Literal

import torch

from benchmarks.measure import cores
from benchmarks.processes import Place, run_in_processes
from workers.training.dtype import fast_bfloat16

Routine = Literal["mm", "oneDNN"]

_ROUNDS = 3
_MIN_SECONDS = 0.2
_MAX_SECONDS = 5.0
_SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192, 16384)}
_TYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_PRECISIONS = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "tf32", "bfloat16", "float16")}


@dataclass(frozen=True)
class Product:
    """A square matrix product: precision, side, and what multiplies: torch.mm, or oneDNN requested by name."""

    precision: str
    size: int
    routine: Routine


@dataclass(frozen=True)
class PeakRate:
    """The best rate of a product in FLOP/s, all processes added up."""

    product: Product
    rate: float


def measure_peaks(device: str) -> list[PeakRate]:
    """The rate of every kind of product that the device has instructions for.

    On a CPU one process per core with one thread each, at the same time, since campaigns run so; else one per GPU.
    """
    count = torch.cuda.device_count() if device == "cuda" else cores()
    routines: Sequence[Routine] = ("mm", "oneDNN") if device == "cpu" and _has_onednn() else ("mm",)
    lacking = lacking_instructions(device)
    precisions = [name for name in _PRECISIONS[device] if name not in lacking]
    kinds = [Product(*kind) for kind in product(precisions, _SIZES[device], routines)]
    # Every process takes one job of each round: none goes on before all have met.
    jobs = [kind for kind in kinds for _ in range(_ROUNDS * count)]
    rates = run_in_processes(count, 1, _prepare, (device,), jobs).results
    rounds = [sum(rates[start : start + count]) for start in range(0, len(rates), count)]
    return [PeakRate(kind, max(rounds[n * _ROUNDS : (n + 1) * _ROUNDS])) for n, kind in enumerate(kinds)]


def lacking_instructions(device: str) -> dict[str, str]:
    """Why the peak of a precision is not measured here, by its name."""
    if fast_bfloat16(torch.device(device)):
        return {}
    where = "the CPU" if device == "cpu" else "the GPU"
    return {"bfloat16": f"matrix peak in bfloat16: not measured: {where} has no instructions for its products"}


def best_by_precision(rates: Iterable[PeakRate]) -> dict[str, float]:
    """FLOP/s by precision."""
    best: dict[str, float] = {}
    for rate in rates:
        best[rate.product.precision] = max(best.get(rate.product.precision, 0.0), rate.rate)
    return best


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def _prepare(place: Place, device: str) -> Callable[[Product], float]:
    where = torch.device(device, place.index) if device == "cuda" else torch.device(device)
    return partial(_rate, place, where)


def _rate(place: Place, device: torch.device, kind: Product) -> float:
    """FLOP/s of this process."""
    torch.set_float32_matmul_precision("high" if kind.precision == "tf32" else "highest")
    small = _multiply(device, Product(kind.precision, _SIZES[device.type][0] // 2, kind.routine), 2)
    expected = 2 * kind.size**3 / small
    # Where products are slow, a large one tells no more than a small one.
    if expected > _MAX_SECONDS:
        place.meet()
        return small
    place.meet()
    return _multiply(device, kind, max(1, round(_MIN_SECONDS / expected)))


@torch.inference_mode()
def _multiply(device: torch.device, kind: Product, times: int) -> float:
    """FLOP/s of so many products, one after the other; a first one is not counted."""
    left, right = (torch.randn(kind.size, kind.size, device=device).to(_TYPES[kind.precision]) for _ in range(2))
    if kind.routine == "oneDNN":
        left, right = left.to_mkldnn(), right.to_mkldnn()
        multiply: Callable[[], torch.Tensor] = partial(torch.ops.aten.mkldnn_linear, left, right)
    else:
        multiply = partial(torch.mm, left, right, out=torch.empty_like(left))
    multiply()
    _finish(device)
    started = time.perf_counter()
    for _ in range(times):
        multiply()
    _finish(device)
    return times * 2 * kind.size**3 / (time.perf_counter() - started)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
