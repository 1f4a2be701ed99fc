"""Exit codes of commands; errors are printed as one line."""

import os
import traceback
from collections.abc import Callable
from typing import Final

from orchestrator.cli.output import warn
from workers.common.extras import missing_extras_explained
from workers.errors import FAILED, LongtailError
from workers.user_code.boundary import FULL_TRACEBACKS, RaisedByUserCodeError, format_traceback

INTERRUPTED: Final = 130
"""Exit code after SIGINT or SIGTERM; the others, 1 and 2, are `FAILED` and `MISTAKE` of workers.errors."""


def exit_code_of(app: Callable[[], object]) -> int:
    """Call the command line's application and return the exit code of what it did.

    An error is printed as one line, an error in the campaign's own code as a traceback of that code alone.
    """
    try:
        with missing_extras_explained():
            app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except LongtailError as error:
        for line in str(error).split("\n"):
            warn(f"error: {line}")
        return error.exit_code
    except KeyboardInterrupt:
        warn("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return FAILED
    except RaisedByUserCodeError as error:
        if error.__cause__ is not None:
            for line in format_traceback(error.__cause__).rstrip("\n").split("\n"):
                warn(line)
        if os.environ.get(FULL_TRACEBACKS) != "full":
            warn(f"({FULL_TRACEBACKS}=full in the environment shows every frame)")
        return FAILED
    except Exception:  # noqa: BLE001 - a mistake of Longtail's own
        for line in traceback.format_exc().rstrip("\n").split("\n"):
            warn(line)
        return FAILED
    return 0
