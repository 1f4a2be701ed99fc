"""Models per second of Longtail and its peers, side by side on one machine.

    python -m benchmarks.speed [WORK ...] --mnist-root DIR --cifar-root DIR --jax-script PATH/mnist.py
        --jax-python PYTHON --airbench PATH/airbench94.py --repeats 3 --json FILE

WORK is digits, mnist, cifar10, resnet9 or resnet18; by default all that this machine can run. Each repeat trains the
models of all contestants of a work in turn, forwards and backwards; the table shows medians. Time counts from the
moment that all processes of a contestant are ready. The peers' scripts are the user's own copies, of
pluskid/structural-regularity and of KellerJordan/cifar10-airbench. Nothing is downloaded. Exit codes: 0 done, 1 ours
failed, 2 a mistake in the command.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Contestant, Measurement, PeerError, hardware, rows, turns, versions
from benchmarks.table import describe, print_table
from benchmarks.workloads import NAMES, Sizes, Workload, make_workload, unmeasurable_reason
from orchestrator.cli.output import say, warn
from orchestrator.runners.run_options import Device
from workers.errors import CampaignError, DataError, LongtailError

if TYPE_CHECKING:
    from benchmarks.contestants import Options
    from benchmarks.peak import PeakRate

# What imports torch waits until something is measured, so that --help and mistakes are answered at once.


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    args = _parser().parse_args(words)
    try:
        _check_paths(args)
        return _run(args)
    except LongtailError as error:
        for line in str(error).splitlines():
            warn(f"error: {line}")
        return 2 if isinstance(error, CampaignError | DataError) else 1


def _run(args: argparse.Namespace) -> int:
    from benchmarks.contestants import select_contestants
    from benchmarks.peak import best_by_precision, lacking_instructions, measure_peaks

    device = _device(args.device)
    works, notes = _works(args, device)
    contestants: list[Contestant] = []
    for work in works:
        selected, missing = select_contestants(work, _options(args, device))
        contestants += selected
        notes += missing
    if contestants:
        notes += lacking_instructions(device).values()
    for note in notes:
        say(note)
    if not contestants:
        return 0
    machine = hardware(device)
    peaks = measure_peaks(device)
    measurements: list[Measurement] = []
    for work in works:
        measurements += race(work, contestants, args.repeats, notes)
        # After each work: what took minutes is kept if a later one is interrupted.
        _write(args, works, machine, peaks, measurements, notes)
    # Before and after: a machine that was busy at one of the times does not make the shares too large.
    peaks += measure_peaks(device)
    print_table(rows(measurements, best_by_precision(peaks)), best_by_precision(peaks), machine, notes)
    _write(args, works, machine, peaks, measurements, notes)
    if args.json is not None:
        say(f"wrote {args.json}")
    return 0


def _device(requested: Device | None) -> Device:
    import torch

    available = torch.cuda.is_available()
    if requested == "cuda" and not available:
        raise CampaignError("--device: cuda needs a GPU that torch can use, and there is none")
    return requested or ("cuda" if available else "cpu")


def _write(
    args: argparse.Namespace,
    works: Sequence[Workload],
    machine: Mapping[str, Any],
    peaks: Sequence["PeakRate"],
    measurements: Sequence[Measurement],
    notes: Sequence[str],
) -> None:
    """Everything measured so far, as JSON."""
    if args.json is None:
        return
    jax = next((measurement.details["jax"] for measurement in measurements if "jax" in measurement.details), None)
    document = {
        "hardware": machine,
        "versions": {**versions(), "jax": jax},
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()},
        "campaigns": {workload.name: workload.campaign.model_dump(mode="json") for workload in works},
        "peaks": [asdict(peak) for peak in peaks],
        "measurements": [
            {**asdict(measurement), "models_per_second": measurement.rate} for measurement in measurements
        ],
        "not_measured": notes,
    }
    args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def race(workload: Workload, contestants: Sequence[Contestant], repeats: int, notes: list[str]) -> list[Measurement]:
    """All repeats of a work. A peer that fails is left out from then on, with a note."""
    measurements: list[Measurement] = []
    failed: set[str] = set()
    for contestant in turns([contestant for contestant in contestants if contestant.work == workload.name], repeats):
        if contestant.name in failed:
            continue
        try:
            measurements.append(contestant.measure())
        except PeerError as error:
            failed.add(contestant.name)
            notes.append(f"{workload.name}: {contestant.name}: not measured: {error}")
            say(notes[-1])
        else:
            say(describe(measurements[-1]))
    return [measurement for measurement in measurements if measurement.contestant not in failed]


def _works(args: argparse.Namespace, device: str) -> tuple[list[Workload], list[str]]:
    """The works to measure, and a note for each of the others."""
    sizes = Sizes(
        mnist_root=args.mnist_root,
        cifar_root=args.cifar_root,
        ratios=args.ratios,
        repetitions=args.repetitions,
        peer_repetitions=args.peer_repetitions,
        epochs=args.epochs,
        precision=args.ours_precision,
    )
    notes: list[str] = []
    names: list[str] = []
    for name in args.works or NAMES:
        reason = unmeasurable_reason(name, sizes, device, by_name=bool(args.works))
        if reason is None:
            names.append(name)
        else:
            notes.append(f"{name}: not measured: {reason}")
    return [make_workload(name, sizes) for name in dict.fromkeys(names)], notes


def _options(args: argparse.Namespace, device: Device) -> "Options":
    from benchmarks.contestants import Options

    return Options(
        device=device,
        gpus_per_worker=args.ours_gpus_per_worker,
        peer_bfloat16=args.peer_precision == "bfloat16",
        loop_processes=args.loop_processes,
        loader_workers=args.loader_workers,
        mnist_root=args.mnist_root,
        jax_script=args.jax_script,
        jax_python=args.jax_python,
        airbench=args.airbench,
        airbench_models=args.airbench_models,
    )


def _check_paths(args: argparse.Namespace) -> None:
    """Raise CampaignError for the first path or name that cannot be meant."""
    for name in args.works:
        if name not in NAMES:
            raise CampaignError(f"WORK: must be one of {', '.join(NAMES)}, got {name!r}")
    for option in ("mnist_root", "cifar_root"):
        path = getattr(args, option)
        if path is not None and not path.is_dir():
            raise CampaignError(f"--{option.replace('_', '-')}: must be a folder, got {path}")
    for option in ("jax_script", "airbench"):
        path = getattr(args, option)
        if path is not None and not path.is_file():
            raise CampaignError(f"--{option.replace('_', '-')}: must be a file, got {path}")
    if shutil.which(args.jax_python) is None:
        raise CampaignError(f"--jax-python: must be a Python interpreter, got {args.jax_python}")
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise CampaignError(f"--json: must be in a folder that exists, got {args.json}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=(__doc__ or "").splitlines()[0],
        epilog="See the top of benchmarks/speed.py for what is compared.",
    )
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"{', '.join(NAMES)}; default: what can run here")
    files = parser.add_argument_group("files of the user's own")
    files.add_argument("--mnist-root", type=Path, help="folder that holds MNIST/raw, packed or not")
    files.add_argument("--cifar-root", type=Path, help="holds cifar-10-batches-py/, or train.parquet and test.parquet")
    files.add_argument("--jax-script", type=Path, help="mnist.py of pluskid/structural-regularity")
    files.add_argument("--jax-python", default=sys.executable, help="a Python that has jax (default: this one)")
    files.add_argument("--airbench", type=Path, help="airbench94.py of KellerJordan/cifar10-airbench")
    files.add_argument("--json", type=Path, help="write all raw measurements here")
    amount = parser.add_argument_group("how much")
    amount.add_argument("--repeats", type=_count, default=3, help="of every contestant (default: 3)")
    amount.add_argument("--repetitions", type=_count, help="models of ours at each ratio, per repeat")
    amount.add_argument("--peer-repetitions", type=_count, help="of contestants that train one model after the other")
    amount.add_argument("--airbench-models", type=_count, default=3, help="per repeat, after one that is not counted")
    amount.add_argument("--ratios", type=float, nargs="+", help="instead of the work's own, for a trial")
    amount.add_argument("--epochs", type=_count, help="instead of the recipe's, for a trial")
    how = parser.add_argument_group("how")
    how.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is a GPU")
    how.add_argument(
        "--ours-precision", choices=("float32", "tf32", "bfloat16"), help="recipe.precision (default: its own)"
    )
    how.add_argument(
        "--ours-gpus-per-worker", type=float, help="a fraction packs several workers on a GPU (default: 1)"
    )
    how.add_argument("--peer-precision", choices=("float32", "bfloat16"), default="float32", help="of the plain loops")
    how.add_argument("--loop-processes", type=_count, help="plain loops at once (default: as many as cores)")
    how.add_argument("--loader-workers", type=_count, help="DataLoader processes (default: as many as cores)")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


if __name__ == "__main__":
    sys.exit(main())
