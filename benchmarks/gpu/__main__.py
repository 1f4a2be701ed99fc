"""Everything that is to be measured on a GPU, in one command of less than nine minutes. Needs no Ray.

    python -m benchmarks.gpu --mnist-root DIR --cifar-root DIR --peer jax=mnist.py --peer airbench94=airbench94.py

Sections: `start` (seconds until a fresh process trains), `update` (one pass over memory beside PyTorch's),
`programs` (a step of a convolutional network in grouped stacks, in streams, compiled), `correctness` (every model with
both engines: trains, equal bits when trained twice, and when killed with SIGKILL and resumed), `profile` (where the
device's time goes, beside the floor), `speed` (models per second beside the peers). Each row is printed as soon as it
is there and appended to --out as a line of JSON, so that the command can be cut at any time; `--section` and `--only`
measure the rest later. Rows for which the time does not suffice are `not measured`. Exit codes: 0 all rows passed, 1
one did not, 2 a mistake in the command.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.journal import Journal, Row
from benchmarks.measure import hardware, versions
from orchestrator.cli.output import say, warn
from workers.errors import CampaignError, DataError, LongtailError

SECTIONS = ("start", "update", "programs", "correctness", "profile", "speed")


def main(words: Sequence[str] | None = None) -> int:
    """Measure; returns the exit code."""
    args = _parser().parse_args(words)
    try:
        device = _checked_device(args.device)
        if not args.out.absolute().parent.is_dir():
            raise CampaignError(f"--out: must be in a folder that exists, got {args.out}")
        journal = Journal(args.out, args.minutes, {**hardware(device), **versions(), "device": device})
        count = 0
        with ExitStack() as opened:
            for row in _rows(args, device, opened):
                if args.only in f"{row.section}: {row.name}":
                    journal.add(row)
                    count += 1
        if count == 0:
            raise CampaignError(f"--only: no row has {args.only!r} in its name")
    except LongtailError as error:
        for line in str(error).splitlines():
            warn(f"error: {line}")
        return 2 if isinstance(error, CampaignError | DataError) else 1
    say(f"{count} rows: {journal.failed} failed, {journal.open} not measured; appended to {args.out}")
    return 1 if journal.failed else 0


def _checked_device(requested: str | None) -> Any:
    import torch

    if requested == "cuda" and not torch.cuda.is_available():
        raise CampaignError("--device: cuda needs a GPU that torch can use, and there is none; --device cpu tries it")
    return requested or ("cuda" if torch.cuda.is_available() else "cpu")


def _rows(args: argparse.Namespace, device: Any, opened: ExitStack) -> Iterator[Row]:
    """In the order of the sections given; what a section needs is opened with it."""
    from benchmarks.gpu.peers import parse_peers
    from benchmarks.gpu.speed_rows import SpeedOptions, speed_rows

    peers = parse_peers(args.peer)
    options = SpeedOptions(device, args.mnist_root, args.cifar_root, peers, args.jax_python, args.repetitions)
    for section in dict.fromkeys(args.section or SECTIONS):
        if section == "start":
            from benchmarks.gpu.starting import measure_start

            yield Row(section, "fresh process", partial(measure_start, device), expected=40)
        elif section == "update":
            from benchmarks.gpu.update_rows import update_rows

            yield from update_rows(device)
        elif section == "programs":
            from benchmarks.gpu.program_rows import program_rows

            yield from program_rows(device)
        elif section == "correctness":
            yield from _correctness_rows(device, opened)
        elif section == "profile":
            yield from _profile_rows(options)
        else:
            yield from speed_rows(options)


def _correctness_rows(device: str, opened: ExitStack) -> Iterator[Row]:
    from benchmarks.gpu.cases import all_cases
    from benchmarks.gpu.correctness import check_case, killable_children, passed

    children = opened.enter_context(killable_children(device))
    for case in all_cases():
        yield Row("correctness", case.name, partial(check_case, case, device, children), 15, passed)


def _profile_rows(options: Any) -> Iterator[Row]:
    from benchmarks.gpu.device_profile import profile_campaign
    from benchmarks.workloads import Sizes, make_workload, unmeasurable_reason

    for name, epochs, seconds in (("digits", None, 15), ("mnist", None, 60), ("cifar10", 4, 60), ("resnet18", 1, 60)):
        sizes = Sizes(options.mnist_root, options.cifar_root, ratios=[0.5], epochs=epochs)
        if unmeasurable_reason(name, sizes, options.device, by_name=False) is None:
            campaign = make_workload(name, sizes).campaign
            yield Row("profile", name, partial(profile_campaign, campaign, options.device), seconds)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=(__doc__ or "").splitlines()[0],
        epilog="See the top of benchmarks/gpu/__main__.py for what is measured.",
    )
    parser.add_argument("--section", action="append", choices=SECTIONS, help="may be given again; default: all")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name has this text")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is a GPU")
    parser.add_argument("--minutes", type=float, default=9.0, help="no row is begun that would end later (default: 9)")
    parser.add_argument("--out", type=Path, default=Path("gpu-rows.jsonl"), help="rows are appended to this file")
    parser.add_argument("--mnist-root", type=Path, help="folder that holds MNIST/raw, packed or not")
    parser.add_argument("--cifar-root", type=Path, help="holds cifar-10-batches-py/, or train.parquet and test.parquet")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="a script to measure speed beside: jax, airbench94, or one of your own (see benchmarks/gpu/peers.py)",
    )
    parser.add_argument("--jax-python", default=sys.executable, help="a Python that has jax (default: this one)")
    parser.add_argument("--repetitions", type=int, help="models of ours at each ratio in speed rows")
    return parser


if __name__ == "__main__":
    sys.exit(main())
