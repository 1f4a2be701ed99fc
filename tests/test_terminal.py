"""What reaches a terminal: no control character that came from a file, and every style that is rich's own."""

import io
import subprocess
from pathlib import Path

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.terminal import TextConsole, shown
from tests.isolation import longtail

EVIL = "\x1b]0;gone\x07\x1b[2J\r\x9b1m\x7f\u202e\u2028\udc80\U000e0041[red]:smile:"
SHOWN = r"\x1b]0;gone\x07\x1b[2J\x0d\x9b1m\x7f\u202e\u2028\udc80\U000e0041[red]:smile:"


def test_control_characters_are_shown_and_layout_stays() -> None:
    assert shown(EVIL) == SHOWN
    assert shown("naïve\tdéjà\n数据 👩‍🔬") == "naïve\tdéjà\n数据 👩‍🔬"


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


def test_errors_and_usage_errors_and_tracebacks(tmp_path: Path) -> None:
    """One process each: what Python prints when nobody catches an error is part of it."""
    (tmp_path / "mine.py").write_text(f"def load():\n    raise KeyError({EVIL!r})  # \x1b[2J\n")
    (tmp_path / "c.yaml").write_text(
        "dataset: {name: 'mine:load'}\nrecipe: {epochs: 1, batch_size: 1}\nsubsets: {ratios: [0.5], repetitions: 1}\n"
    )
    for words in (["plan", "c.yaml"], ["plan", "\x1b[2J.yaml"], ["plan", "a", "\x1b[2J"], ["status", "\x1b[2J\udcff"]):
        done = subprocess.run(longtail(*words), cwd=tmp_path, capture_output=True, check=False)
        output = (done.stdout + done.stderr).decode("utf-8")
        assert done.returncode != 0 and "\x1b" not in output and r"\x1b[2J" in output, output
