"""Rows of models per second: ours in this process, without Ray, beside the peers that are given."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.contestants import Options, select_contestants
from benchmarks.gpu.journal import NotMeasuredError, Row, Values
from benchmarks.gpu.peers import AIRBENCH, JAX, measure_script
from benchmarks.measure import OURS, Contestant, Measurement, PeerError
from benchmarks.workloads import Sizes, Workload, make_workload, unmeasurable_reason
from orchestrator.runners.run_options import Device

_ASIDE = "plain loops"
"""Several loops at once are no peer on one GPU."""


@dataclass(frozen=True)
class SpeedOptions:
    """Where the data and the peers are."""

    device: Device
    mnist_root: Path | None
    cifar_root: Path | None
    peers: dict[str, Path]
    jax_python: str
    repetitions: int | None = None
    """Of ours at each ratio; None: see `_AMOUNTS`."""


@dataclass(frozen=True)
class _Amount:
    """Ours and the peers' models at each ratio, epochs (None: the recipe's), and the seconds that a row may take."""

    ours: int
    peers: int
    epochs: int | None
    seconds: dict[str, float]


_AMOUNTS = {
    "digits": _Amount(200, 20, None, {OURS: 20, "": 20}),
    "mnist": _Amount(200, 1, None, {OURS: 100, "": 70}),
    "cifar10": _Amount(8, 1, None, {OURS: 60, "": 90}),
    "resnet18": _Amount(1, 1, 2, {OURS: 40, "": 60}),
}
"""Chosen so that all of them take five minutes on an H100."""


def speed_rows(options: SpeedOptions) -> list[Row]:
    """A row for each contestant of each work, ours first."""
    rows: list[Row] = []
    for name, amount in _AMOUNTS.items():
        sizes = Sizes(
            mnist_root=options.mnist_root,
            cifar_root=options.cifar_root,
            repetitions=options.repetitions or amount.ours,
            peer_repetitions=amount.peers,
            epochs=amount.epochs,
        )
        reason = unmeasurable_reason(name, sizes, options.device, by_name=False)
        if reason is not None:
            rows.append(Row("speed", name, partial(_not_measured, reason), expected=0))
            continue
        work = make_workload(name, sizes)
        contestants, notes = select_contestants(work, _line_up_options(options))
        own = {each: path for each, path in options.peers.items() if each not in (JAX, AIRBENCH)}
        contestants = [each for each in contestants if not each.name.endswith(_ASIDE)] + [
            Contestant(name, each, partial(measure_script, work, each, path, amount.seconds[""]))
            for each, path in own.items()
        ]
        rows += _rows(work, contestants, amount)
        rows += [Row("speed", note.partition(": not")[0], partial(_not_measured, note), expected=0) for note in notes]
    return rows


def _rows(workload: Workload, contestants: Sequence[Contestant], amount: _Amount) -> list[Row]:
    """Ours is measured first, and what the others are compared with."""
    rates: dict[str, float] = {}
    return [
        Row(
            "speed",
            f"{workload.name}: {each.name}",
            partial(_measure, each, rates),
            expected=amount.seconds.get(each.name, amount.seconds[""]),
        )
        for each in contestants
    ]


def _measure(contestant: Contestant, rates: dict[str, float]) -> Values:
    try:
        measured: Measurement = contestant.measure()
    except PeerError as error:
        raise NotMeasuredError(str(error)) from error
    rates[contestant.name] = measured.rate
    values = {
        "models/s": measured.rate,
        "models": measured.models,
        "s": measured.seconds,
        "start-up s": measured.startup_seconds,
        "precision": measured.precision,
        "accuracy": measured.accuracy,
    }
    if measured.operations is not None:
        values["TFLOP/s"] = measured.rate * measured.operations / 1e12
    if contestant.name != OURS and OURS in rates:
        values["ours / it"] = rates[OURS] / measured.rate
    return values


def _not_measured(reason: str) -> Values:
    raise NotMeasuredError(reason)


def _line_up_options(options: SpeedOptions) -> Options:
    return Options(
        device=options.device,
        gpus_per_worker=None,
        peer_bfloat16=False,
        loop_processes=1,
        loader_workers=None,
        mnist_root=options.mnist_root,
        jax_script=options.peers.get(JAX),
        jax_python=options.jax_python,
        airbench=options.peers.get(AIRBENCH),
        airbench_models=3,
        in_process=True,
    )
