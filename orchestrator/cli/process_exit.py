"""Ends the process once the command's work is done, even if user code left threads or children running."""

import atexit
import ctypes
import os
import sys
import threading
from typing import NoReturn

from orchestrator.cli.terminal import escape_controls

_MAX_NAMED = 3
_GRACE_SECONDS = 3.0
"""Time that threads, exit handlers and child processes of user code have to end."""


def exit_process(code: int) -> NoReturn:
    """End the process with this exit code; where threads or children block it, after some seconds and with a line.

    Python waits for every thread that is no daemon, for exit handlers, and for processes of multiprocessing, for ever.
    What it does then, taking every module apart, takes 0.1 s where pandas was imported and half a second after torch:
    the process ends without.
    """
    _flush()
    threading.Thread(target=_force_exit, args=(code,), name="longtail-end", daemon=True).start()
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads, and ends those of executors
    atexit._run_exitfuncs()
    _flush()
    ctypes.CDLL(None).fflush(None)  # what C code has printed
    os._exit(code)


def _force_exit(code: int) -> None:
    """End the process after the grace period, unless it has ended by itself."""
    threading.Event().wait(_GRACE_SECONDS)
    # In one piece: once a child is ended, the main thread may end the process at any moment.
    sys.stderr.write(f"note: {escape_controls(_blockers())} did not end with the work; the process ends without\n")
    _flush()
    os._exit(code)


def _blockers() -> str:
    """What blocks the exit: threads by name, child processes, else exit handlers."""
    threads = [each.name for each in threading.enumerate() if not each.daemon and each is not threading.main_thread()]
    if threads:
        more = f" and {len(threads) - _MAX_NAMED} more" if len(threads) > _MAX_NAMED else ""
        return f"threads that are no daemons ({', '.join(threads[:_MAX_NAMED])}{more})"
    processes = sys.modules.get("multiprocessing.process")
    children = processes.active_children() if processes is not None else []
    for child in children:
        child.terminate()
    return f"child processes ({', '.join(str(child.pid) for child in children)})" if children else "exit handlers"


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            try:
                stream.flush()
            except BrokenPipeError:
                # The reader of our output is gone; keep Python from writing to it once more at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
