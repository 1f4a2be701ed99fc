"""What reaches a terminal: no control character that came from a file, and every style that is rich's own."""

import io
import subprocess
from pathlib import Path

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from benchmarks.isolation import longtail
from orchestrator.cli.app import app
from orchestrator.cli.terminal import TextConsole, escape_controls, escape_line

ESC = "\x1b"
EVIL = "\x1b]0;gone\x07\x1b[2J\r\x9b1m\x7f\u202e\u2028\udc80\U000e0041[red]:smile:"
SHOWN = r"\x1b]0;gone\x07\x1b[2J\x0d\x9b1m\x7f\u202e\u2028\udc80\U000e0041[red]:smile:"


def test_control_characters_are_shown_and_layout_stays() -> None:
    assert escape_controls(EVIL) == SHOWN
    assert escape_controls("naïve\tdéjà\n数据 👩‍🔬") == "naïve\tdéjà\n数据 👩‍🔬"
    assert escape_controls("cat\u200b\u2060\u206a") == r"cat\u200b\u2060\u206a", (
        "two names that look alike are told apart"
    )
    assert escape_line("cat\nnext: dog\t\x1b") == r"cat\nnext: dog\t\x1b", "a name begins no line"


@pytest.mark.parametrize("terminal", [False, True])
def test_tables_lines_and_live_views(terminal: bool) -> None:
    written = io.StringIO()
    console = TextConsole(file=written, force_terminal=terminal, width=100)
    table = Table("class", "runs", box=None, header_style="bold")
    for cell in (EVIL, "cat", Text("\x1bd")):
        table.add_row(cell, "7")
    console.print(table)
    console.print(EVIL, markup=False, highlight=False, soft_wrap=True)
    with Live(table, console=console, auto_refresh=False):
        pass
    text = written.getvalue()
    assert ("\x1b[1m" in text) == terminal, "rich's own styles work on a terminal"
    assert "\x1b]" not in text and "\x1b[2J" not in text and "\x1b[31m" not in text and "\x1bd" not in text
    assert not set(EVIL) & set(text) - set(SHOWN) - set("\x1b\r" * terminal)
    assert text.count(SHOWN) == 3 + terminal, "a live view is painted twice"
    plain = text.splitlines()[1:3]
    assert plain[0].rindex("7") == plain[1].rindex("7"), "columns stay aligned"


@pytest.mark.slow
def test_tracebacks_and_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"def load():\n    raise KeyError({EVIL!r}, '{ESC}')\n")
    (tmp_path / "c.yaml").write_text(
        "dataset: {name: 'mine:load'}\nrecipe: {epochs: 1, batch_size: 1}\nsubsets: {ratios: [0.5], repetitions: 1}\n"
    )
    done = subprocess.run(longtail("plan", "c.yaml"), cwd=tmp_path, capture_output=True, check=False)
    output = (done.stdout + done.stderr).decode("utf-8")
    assert done.returncode == 1 and ESC not in output and r"KeyError: ('\x1b]0;gone" in output, output
    used = CliRunner().invoke(app, ["plan", "a", f"{ESC}[2J"])
    assert used.exit_code == 2 and ESC not in used.output and r"\x1b[2J" in used.output
