"""The command: see `benchmarks.chaos`."""

import argparse
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.chaos import __doc__ as description
from benchmarks.chaos.campaign import Plan, Result
from benchmarks.chaos.isolated import ChaosError, run_plan
from benchmarks.chaos.plans import draw_plan
from benchmarks.chaos.report import circumstances, replacements, summary, table
from benchmarks.isolation import longtail, permitted


def main() -> None:
    """Run the campaigns and print the tables; exit code 1 where a campaign had a problem."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--campaigns", type=int, default=10)
    parser.add_argument("--faults", type=int, default=11, help="of each campaign")
    parser.add_argument("--repetitions", type=int, default=80, help="at each of two ratios, one run a shard")
    parser.add_argument("--epochs", type=int, default=36, help="of each run: 36 take about a third of a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first campaign: to repeat one of a seed's")
    parser.add_argument("--keep", type=Path, help="folder for the logs and the store of campaigns with problems")
    args = parser.parse_args()
    if not permitted():
        sys.exit("error: network, process and mount namespaces are needed (root, or unprivileged user namespaces)")
    undisturbed = _carry_out(Plan("disk", "undisturbed", args.repetitions, args.epochs, []), args.keep)
    if undisturbed is None or undisturbed.problems:
        sys.exit("error: not even the undisturbed campaign was sound")
    numbers = range(args.first, args.first + args.campaigns)
    compacts = _can_compact()
    sizes = (args.repetitions, args.epochs)
    plans = [draw_plan(args.seed, number, args.faults, sizes, compaction=compacts) for number in numbers]
    reference = undisturbed.digest
    attempts = [_carry_out(replace(plan, reference=reference), args.keep) for plan in plans]
    results = [result for result in attempts if result is not None]
    pace = undisturbed.seconds / (2 * args.repetitions - 1)
    command = shlex.join(["python", "-m", "benchmarks.chaos", *sys.argv[1:]])
    for part in (circumstances(command), summary(results, undisturbed, pace)):
        print("\n".join(part), end="\n\n")
    for lines in (table(results, pace), replacements(results)):
        print("\n".join(lines), end="\n\n")
    if len(results) < len(plans) or any(result.problems for result in results):
        sys.exit(1)


def _carry_out(plan: Plan, keep: Path | None) -> Result | None:
    """One campaign, told on standard error; None where its harness failed."""
    start = time.monotonic()
    try:
        result = run_plan(plan, keep)
    except ChaosError as error:
        print(error, file=sys.stderr)
        return None
    injected = ", ".join(injection.name for injection in result.injections)
    seconds = time.monotonic() - start
    state = "sound" if not result.problems else f"{len(result.problems)} PROBLEMS"
    print(f"campaign {plan.seed} ({plan.location}): {state}, {seconds:.0f} s; {injected}", file=sys.stderr)
    for line in result.ended:
        print(f"    a driver ended: {line[:200]}", file=sys.stderr)
    for problem in result.problems[:20]:
        print(f"    {problem}", file=sys.stderr)
    return result


def _can_compact() -> bool:
    return subprocess.run(longtail("compact", "--help"), capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
