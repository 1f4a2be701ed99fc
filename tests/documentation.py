"""Reads the pages of docs/ and does what they say, so that no command and no snippet of them can rot.

Fenced blocks, by their language:

    console   lines after "$ " are commands (a backslash at the end continues one); the others are output: of the words
              of the first line shown, at least half must be in what the command really printed ("..." stands for
              lines left out)
    python    executed, all blocks of a page in one namespace
    yaml      part of a campaign file, which must be free of mistakes; "---" separates alternatives
    text      output, formulas, sketches: nothing to execute (also without a language)
    any of them with title="NAME"   is written to that file

Blocks inside an HTML comment are executed like the others, and readers do not see them: what a page presupposes. A
comment of one line before a block is a note on it; several are separated by ";":

    <!-- executed by tests/runners/test_jobs.py -->   not here, but by that test, with the same commands and options
    <!-- checked by --help -->                 takes hours, or other machines: the program's help must know the options
    <!-- shrunk: dataset=digits epochs=2 -->   campaign files that the block makes are made small before they are used;
                                               also repetitions=..., hidden=... (of an mlp); --repetitions of the
                                               block's commands too
    <!-- exits 2 -->                           what the last command of the block ends with
"""

import io
import itertools
import os
import re
import runpy
import shlex
import subprocess
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from benchmarks.isolation import isolated, longtail
from tests.command import call
from tests.conftest import small_campaign
from workers.campaign.yaml_io import check_campaign, parse_mapping

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
LANGUAGES = ("console", "python", "yaml", "text")

INSTALLED = ("git clone ", "cd longtail", "make install", ". .venv/bin/activate")
"""How commands begin that `.ci/run` has carried out, in a fresh clone, before any test runs."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)$")
_NOTE = re.compile(r"executed by \S+|checked by --help|shrunk(: (\w+=\w+ ?)+)?|exits \d+")
_SHELL = re.compile(r"[|<>&;$]|^\w+=")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, the file that it is, its text, and the notes on it."""

    place: str
    language: str
    title: str | None
    text: str
    notes: tuple[str, ...]

    def note(self, start: str) -> str | None:
        """The rest of the note that begins so, or None."""
        return next((note.removeprefix(start).strip(" :") for note in self.notes if note.startswith(start)), None)

    def commands(self) -> list[tuple[str, list[str]]]:
        """(command, the lines of output shown below it), of a console block."""
        found: list[tuple[str, list[str]]] = []
        continued = False
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif continued:
                found[-1] = (f"{found[-1][0]}\n{line}", [])
            elif not found:
                raise ValueError(f"{self.place}: output before the first command")
            else:
                found[-1][1].append(line)
            continued = line.endswith("\\")
        return found


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, those in HTML comments too. Raises ValueError: one is of no known kind."""
    found: list[Block] = []
    lines = page.read_text().splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if start is None:
            start = number
        else:
            found.append(_block(page, lines, start, number))
            start = None
    if start is not None:
        raise ValueError(f"{page.name}:{start + 1}: a block that never ends")
    return found


def _block(page: Path, lines: list[str], start: int, end: int) -> Block:
    place = f"{page.name}:{start + 1}"
    fence = _FENCE.match(lines[start])
    assert fence is not None
    info = re.fullmatch(r'(\w+)(?: title="([^"/]+)")?', fence["info"].strip() or "text")
    if info is None or (info[1] not in LANGUAGES and info[2] is None):
        raise ValueError(f"{place}: must be one of {', '.join(LANGUAGES)}, or have a title, got {fence['info']!r}")
    indent = len(fence["indent"])
    text = "".join(f"{line[indent:]}\n" for line in lines[start + 1 : end])
    if info[1] != "console" and re.search(r"^\$ ", text, re.MULTILINE):
        raise ValueError(f"{place}: commands belong into a console block, got {fence['info']!r}")
    before = next((line.strip() for line in reversed(lines[:start]) if line.strip()), "")
    comment = re.fullmatch(r"<!-- (.*) -->", before)
    notes = tuple(note.strip() for note in comment[1].split(";")) if comment else ()
    if unknown := [note for note in notes if not _NOTE.fullmatch(note)]:
        raise ValueError(f"{place}: no note that means anything: {', '.join(unknown)}")
    return Block(place, info[1], info[2], text, notes)


class Session:
    """The folder in which a page is worked through from top to bottom, as its reader would."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.executed: list[Block] = []
        self._patch = monkeypatch
        monkeypatch.chdir(folder)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        monkeypatch.setenv("COLUMNS", "120")

    def work_through(self, blocks: list[Block]) -> None:
        """Carry out all blocks. AssertionError where one does not do what the page says."""
        known = set(sys.modules)
        try:
            for block in blocks:
                self._carry_out(block)
                self.executed.append(block)
        finally:
            for name in set(sys.modules) - known:  # the page's own modules are not those of the next page
                if str(getattr(sys.modules[name], "__file__", None)).startswith(str(self.folder)):
                    del sys.modules[name]

    def _carry_out(self, block: Block) -> None:
        test = block.note("executed by")
        before = self._campaign_files()
        if test is not None:
            check_executed_by(block, ROOT / test)
        elif block.note("checked by --help") is not None:
            self._ask_for_help(block)
        elif block.title is not None:
            (self.folder / block.title).write_text(block.text)
        elif block.language == "console":
            self._run_commands(block, before)
        elif block.language == "python":
            exec(compile(block.text, block.place, "exec"), self.names)  # noqa: S102 - our own page
        elif block.language == "yaml":
            check_campaign_parts(block)
        self._shrink(block, before)

    def _run_commands(self, block: Block, before: dict[Path, str]) -> None:
        commands = block.commands()
        for number, (command, shown) in enumerate(commands):
            last = number == len(commands) - 1
            code, output = self.run(command, sizes_of(block))
            requested = int(block.note("exits") or 0) if last else 0
            assert code == requested, f"{block.place}: {command} ended with {code}\n{output}"
            check_shown(f"{block.place}: {command}", shown, output)
            self._shrink(block, before)

    def _ask_for_help(self, block: Block) -> None:
        for command, _ in block.commands():
            words = shlex.split(command.replace("\\\n", " "), comments=True)
            options = [word.partition("=")[0] for word in words if word.startswith("--")]
            code, output = help_of(words[2]) if words[1] == "-m" else call(words[1], "--help")[:2]
            missing = [option for option in options if not re.search(rf"{option}\b", output)]
            assert (code, missing) == (0, []), f"{block.place}: {command}\n{output}"

    def run(self, command: str, sizes: dict[str, str] | None = None) -> tuple[int, str]:
        """(exit code, output) of a command. With sizes, of a note, the demo's own campaign is made small, too."""
        if command.startswith(INSTALLED):
            return 0, ""
        words = shlex.split(command.replace("\\\n", " "), comments=True)
        if words[0] == "cd":
            self._patch.chdir(words[1])
            return 0, ""
        if words[0] == "export" and not _SHELL.search(command):
            for name, _, value in (word.partition("=") for word in words[1:]):
                self._patch.setenv(name, value)
            return 0, ""
        if words[0] == "make":
            return self._make(words[1], sizes)
        if words[0] != "longtail" or _SHELL.search(command.partition(" #")[0]):
            return self._run_elsewhere(["bash", "-euo", "pipefail", "-c", command])
        if words[1] == "tune" or "ray" in words:
            return self._run_elsewhere(isolated(longtail(*words[1:])))
        if sizes is not None and words[1] == "demo":
            words += ["--runs", "20"]
        if sizes is not None and "repetitions" in sizes and "--repetitions" in words:
            words[words.index("--repetitions") + 1] = sizes["repetitions"]
        code, output, errors = call(*words[1:], cwd=Path.cwd())
        return code, output + errors

    def _make(self, target: str, sizes: dict[str, str] | None) -> tuple[int, str]:
        """What the Makefile says of a target, beside installing."""
        ask = ["make", "--dry-run", "--no-print-directory", "--assume-old=.venv/installed", target]
        recipe = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        said = ""
        for line in recipe:
            code, output = self.run(line.removeprefix('".venv/bin"/'), sizes)
            said += output
            if code:
                return code, said
        return 0, said

    def _run_elsewhere(self, words: list[str]) -> tuple[int, str]:
        environment = {**os.environ, "HOME": str(self.folder)}
        done = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=environment
        )
        return done.returncode, done.stdout

    def _campaign_files(self) -> dict[Path, str]:
        return {path: path.read_text() for path in self.folder.glob("*.yaml")}

    def _shrink(self, block: Block, before: dict[Path, str]) -> None:
        """Make the campaign files small that are new since `before`, which then knows them."""
        sizes = sizes_of(block)
        if sizes is None:
            return
        for path, text in self._campaign_files().items():
            if before.get(path) != text:
                path.write_text(shrunk(text, sizes))
                before[path] = path.read_text()


def help_of(module: str) -> tuple[object, str]:
    """(exit code, output) of `python -m MODULE --help`, in this process: another takes seconds to import PyTorch."""
    code: object = 0
    output = io.StringIO()
    with patch.object(sys, "argv", [module, "--help"]), redirect_stdout(output), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* found in sys.modules", category=RuntimeWarning)
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            code = ended.code
    return code, output.getvalue()


def sizes_of(block: Block) -> dict[str, str] | None:
    """What the note on a block makes small; None without one."""
    note = block.note("shrunk")
    return None if note is None else dict(size.split("=") for size in note.split())


def shrunk(text: str, sizes: dict[str, str]) -> str:
    """A campaign file with another data set, fewer epochs and runs; the comment on top stays."""
    document = yaml.safe_load(text)
    if "dataset" in sizes:
        document.update(dataset={"name": sizes["dataset"]}, model={"name": "mlp", "hidden": [16]})
        document["recipe"] = {"epochs": 2, "batch_size": 64}
    if "hidden" in sizes:
        document["model"]["hidden"] = [int(sizes["hidden"])]
    if "epochs" in sizes:
        document["recipe"]["epochs"] = int(sizes["epochs"])
    if "repetitions" in sizes:
        document["subsets"]["repetitions"] = int(sizes["repetitions"])
    opening = "".join(f"{line}\n" for line in itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()))
    return opening + yaml.safe_dump(document)


def check_campaign_parts(block: Block) -> None:
    """Every alternative of a yaml block is free of mistakes, in a campaign that has the rest."""
    plain = small_campaign().model_dump(mode="json")
    for part in block.text.split("\n---\n"):
        check_campaign({**plain, **parse_mapping(part, block.place, "fields of a campaign")}, block.place)


def check_executed_by(block: Block, test: Path) -> None:
    """The test that a note names has the program, the subcommand and the options of each command of the block.

    One that names the page takes the commands from there.
    """
    text = test.read_text()
    if f'"{block.place.partition(":")[0]}"' in text:
        return
    for command, _ in block.commands() if block.language == "console" else []:
        words = shlex.split(command.replace("\\\n", " "), comments=True)
        names = [word for place, word in enumerate(words) if place < 2 or word.startswith("-")]
        missing = [name for name in names if name.partition("=")[0].rpartition("/")[2] not in text]
        assert not missing, f"{block.place}: {test.name} does not have {missing} of: {command}"


def check_shown(place: str, shown: list[str], output: str) -> None:
    """At least half of the words of the first line of output that a page shows are in what was printed."""
    first = next((line for line in shown if line.strip() and not line.startswith("...")), "")
    words = _words(first)
    missing = words - _words(output)
    assert 2 * len(missing) <= len(words), f"{place}\nprinted nothing like {sorted(missing)} of: {first}\n{output}"


def _words(text: str) -> set[str]:
    """Words of three letters or more; not those of paths, which differ from machine to machine."""
    tokens = (token.strip("│┃|.,:;()[]'\"") for token in text.split())
    return {token for token in tokens if re.fullmatch(r"[A-Za-z][A-Za-z-]{2,}", token)}
