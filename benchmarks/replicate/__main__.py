"""Reproduce rows of the replication tables in `docs/papers.md`.

    python -m benchmarks.replicate --list
    python -m benchmarks.replicate digits-pairs mnist-utility --reduced --data FOLDER --stores FOLDER
    python -m benchmarks.replicate --page

Each row trains the campaigns that it needs into FOLDER (what is there already is not trained again), prints its figure
with the error and the verdict, and writes FOLDER/ROW-full.json or ROW-reduced.json. `--reduced` takes the first
examples, fewer epochs and runs, as the row says. `--data` is the folder that campaigns call `dataset.root`. `--record`
puts the result into the table's file, `--page` writes docs/papers.md from it.
"""

import argparse
import json
import platform
import sys
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.replicate.page import update_page
from benchmarks.replicate.rows import Measurement, Row, SizeName, Table, read_table, record
from workers.errors import LongtailError

if TYPE_CHECKING:
    from benchmarks.replicate.lab import Lab, Outcome


def main() -> int:
    """See the module."""
    options = _options()
    table = read_table()
    if options.list:
        print(*(_line(row, table) for row in table.rows), sep="\n")
    if unknown := [name for name in options.rows if name not in {row.id for row in table.rows}]:
        print(f"error: rows: there is no {', '.join(unknown)}; --list shows all", file=sys.stderr)
        return 2
    rows = [table.row(name) for name in options.rows]
    if unmade := [row for row in rows if row.experiment is None]:
        print(*(f"error: {row.id}: {row.missing}" for row in unmade), sep="\n", file=sys.stderr)
        return 2
    try:
        for row in rows:
            _make(row, options)
    except LongtailError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if options.page:
        update_page()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.replicate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--list", action="store_true", help="show the rows")
    parser.add_argument("--reduced", action="store_true", help="at the row's reduced size")
    parser.add_argument("--data", type=Path, help="the folder of the data sets")
    parser.add_argument("--stores", type=Path, default=Path("replications"), help="default: replications/")
    parser.add_argument("--runner", choices=("auto", "local", "ray"), default="auto", help="as of longtail run")
    parser.add_argument("--record", action="store_true", help="keep the result in the table's file")
    parser.add_argument("--page", action="store_true", help="write docs/papers.md anew")
    return parser.parse_args()


def _line(row: Row, table: Table) -> str:
    measured = ", ".join(f"{each.size}: {each.verdict}" for each in table.measurements(row))
    return f"{row.id:34} {row.what} [{measured or row.missing or 'not run'}]"


def _make(row: Row, options: argparse.Namespace) -> None:
    from benchmarks.replicate.experiments import EXPERIMENTS  # PyTorch takes seconds to import
    from benchmarks.replicate.lab import Lab
    from orchestrator import RunOptions

    size: SizeName = "reduced" if options.reduced else "full"
    data = None if options.data is None else options.data.absolute()
    lab = Lab(row, size, data, options.stores.absolute(), RunOptions(runner=options.runner))
    started = time.perf_counter()
    outcome = EXPERIMENTS[row.experiment or ""](lab)
    measured = _measurement(row, lab, outcome)
    print(f"{row.id} ({measured.size}; {measured.runs:,} runs on {measured.machine})")
    print(f"  published: {row.published.value}")
    print(f"  here: {outcome.value}\n  {outcome.verdict}: {outcome.reason}", flush=True)
    for what, curve in outcome.curves.items():
        print(f"  {what}: {'; '.join(f'{name} {value}' for name, value in curve.items())}", flush=True)
    document = measured.model_dump(mode="json") | {"numbers": outcome.numbers}
    document |= {"published": row.published.model_dump(), "seconds": round(time.perf_counter() - started, 1)}
    path = options.stores / f"{row.id}-{size}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    if options.record:
        record(measured)


def _measurement(row: Row, lab: "Lab", outcome: "Outcome") -> Measurement:
    size = "full" if lab.size_name == "full" else str(lab.size) or "fewer runs"
    return Measurement(
        row=row.id,
        size=f"{size}, lossy images" if lab.lossy else size,
        value=outcome.value,
        runs=lab.runs,
        machine=_machine(dict(lab.devices)),
        verdict=outcome.verdict,
        reason=outcome.reason,
        curves=outcome.curves,
        day=date.today(),
    )


def _machine(devices: dict[str, int]) -> str:
    """The GPU that trained most runs, or the CPU's name."""
    device = max(devices, key=devices.__getitem__, default="cpu")
    return _cpu() if device == "cpu" else device


def _cpu() -> str:
    """Of the kernel, which has the model's name; else what Python knows."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
