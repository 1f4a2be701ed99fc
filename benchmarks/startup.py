"""Start-up cost: CPU seconds of short commands, beside `import torch` in the same rounds.

    python -m benchmarks.startup
    python -m benchmarks.startup --repeats 1 status influence

User and system time of the process and of its children, the median of the repeats; commands take turns. The store
has 64 runs of digits at one ratio; `run` trains 4 models of one epoch. With names, only these are measured.
"""

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from workers.campaign.yaml_io import read_campaign

_TORCH = "import torch"

_NEW = "{new}"
"""In a path: another name each time."""

_numbers = itertools.count()

_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""With compiled modules kept, as they are where nobody forbids it."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a command, such as status; default: all")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        commands = make_commands(Path(folder))
        if unknown := set(options.names) - {*commands}:
            raise SystemExit(f"no command {', '.join(sorted(unknown))}; there are {', '.join(commands)}")
        chosen = {name: words for name, words in commands.items() if name in {_TORCH, *(options.names or commands)}}
        for words in chosen.values():  # compiles what Python and numba keep compiled
            cpu_seconds(words)
        seconds: dict[str, list[float]] = {name: [] for name in chosen}
        for _ in range(options.repeats):
            for name, words in chosen.items():
                seconds[name].append(cpu_seconds(words))
    table = Table("command", title=f"CPU seconds, median of {options.repeats}")
    for heading in ("CPU s", "lowest", "highest", "over torch"):
        table.add_column(heading, justify="right")
    for name, each in seconds.items():
        cells = (median(each), min(each), max(each), median(each) - median(seconds[_TORCH]))
        table.add_row(name, *(f"{cell:.2f}" for cell in cells))
    Console().print(table)


def make_commands(folder: Path) -> dict[str, Sequence[str]]:
    """The commands by name, with the campaign file and the store that they need in a folder."""
    longtail = str(Path(sys.executable).with_name("longtail"))
    file, store = folder / "campaign.yaml", folder / "store"
    cpu_seconds([longtail, "init", "digits", "-o", str(file)])
    campaign = read_campaign(file)
    recipe, subsets = (campaign.recipe.model_copy(update={"epochs": 1}), campaign.subsets)
    subsets = subsets.model_copy(update={"repetitions": 64})
    file.write_text(campaign.model_copy(update={"recipe": recipe, "subsets": subsets}).model_dump_json())  # is YAML
    cpu_seconds([longtail, "run", str(file), "--store", str(store)])
    return {
        _TORCH: [sys.executable, "-c", _TORCH],
        "import longtail": [sys.executable, "-c", "import longtail"],
        "--help": [longtail, "--help"],
        "init": [longtail, "init", "digits", "-o", str(folder / _NEW)],
        "status": [longtail, "status", str(store)],
        "influence": [longtail, "influence", str(store)],
        "estimate": [longtail, "estimate", str(store)],
        "plan": [longtail, "plan", str(file)],
        "run": [longtail, "run", str(file), "--repetitions", "4", "--store", str(folder / _NEW)],
    }


def cpu_seconds(words: Sequence[str]) -> float:
    """User and system time of a process and its children; raises SystemExit where it fails."""
    number = next(_numbers)
    words = [word.replace(_NEW, f"new-{number}") for word in words]
    with tempfile.TemporaryFile() as output:
        streams = [(os.POSIX_SPAWN_DUP2, output.fileno(), descriptor) for descriptor in (1, 2)]
        child = os.posix_spawn(words[0], words, _ENVIRONMENT, file_actions=streams)
        _, code, usage = os.wait4(child, 0)
        if code:
            output.seek(0)
            raise SystemExit(f"{' '.join(words)}: {output.read().decode(errors='replace')}")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
