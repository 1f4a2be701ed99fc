"""The `longtail` command in this process: a process of its own takes seconds to import PyTorch."""

import io
import os
import re
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from benchmarks.isolation import ROOT
from orchestrator.cli import output as printed
from orchestrator.cli.app import app
from orchestrator.cli.exit_codes import exit_code_of


def call(*words: object, cwd: Path = ROOT, columns: int = 200) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of `longtail WORDS`, called in a folder, on so many columns."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", ["longtail", *map(str, words)]),
        patch.object(sys, "path", [str(cwd), *sys.path]),
        patch.dict(os.environ, {"COLUMNS": str(columns)}),
        patch.object(printed.console, "_width", columns),  # a console keeps the width that it was made with
        patch.object(printed.errors, "_width", columns),
        chdir(cwd),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        code = exit_code_of(app)
    return code, output.getvalue(), errors.getvalue()


def without_progress(errors: str) -> str:
    """Standard error without what `run` tells of its data and progress."""
    told = (line for line in errors.splitlines(keepends=True) if not re.match(r"data: |[\d,]+/[\d,]+ runs", line))
    return "".join(told)
