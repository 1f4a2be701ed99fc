"""Ends this process with one line when the head node of its Ray cluster is lost.

Ray's own client waits for a minute in calls that nothing interrupts, and then ends the process itself, with messages of
its own or none. A thread asks the head's GCS for a sign of life meanwhile. Ending at once loses nothing: what is in the
store is all that counts, and workers end with their driver.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

HEAD_SECONDS = 20.0
"""The head is taken for lost once it has not answered for so long."""

NOTICE_SECONDS = 3.0
"""That it does not answer is said after so long, on standard error."""

_PROBE_SECONDS = 2.0
_EVERY_SECONDS = 1.0
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How an HTTP/2 client begins, with empty settings. A gRPC server answers it before it asks for any token."""


def head_problem(address: str) -> str | None:
    """The reason why the GCS at HOST:PORT does not answer within two seconds; None where it does.

    Any reaction of the process counts, also one that closes the connection. Where it stands still, the kernel still
    accepts connections for it.
    """
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_SECONDS) as connection:
            connection.settimeout(_PROBE_SECONDS)
            try:
                connection.sendall(_HTTP2_PREFACE)
                connection.recv(1)
            except TimeoutError:
                return "it accepts connections and sends nothing"
            except ConnectionError:
                return None  # closed or reset by a live process: it speaks TLS
    except OSError as error:
        return str(error)
    return None


@contextmanager
def watch_head(address: str, lost: Callable[[str], None] | None = None) -> Iterator[None]:
    """A context in which a thread checks that the cluster's head at HOST:PORT (its GCS) answers.

    Once it has not for 3 seconds, a line on standard error says so, and another one if it answers again. After 20
    seconds `lost` is called with one line; by default that ends the process with exit code 1.
    """
    over = threading.Event()
    arguments = (address, over, lost or end_process)
    thread = threading.Thread(target=_watch, args=arguments, name="longtail-head-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Outage:
    """Measures for how many seconds a head has not answered."""

    def __init__(self) -> None:
        # Not the last answer: this process may itself have been stopped since.
        self._failing_since: float | None = None

    def seconds(self, problem: str | None, begun: float, ended: float) -> float:
        """Record a probe from `begun` to `ended`; returns the seconds of the present outage."""
        if problem is None:
            self._failing_since = None
            return 0.0
        self._failing_since = begun if self._failing_since is None else self._failing_since
        return ended - self._failing_since


def _watch(address: str, over: threading.Event, lost: Callable[[str], None]) -> None:
    outage, noticed = Outage(), False
    head = f"the Ray cluster's head at {address}"
    while not over.is_set():
        begun, problem = time.monotonic(), head_problem(address)
        silent = outage.seconds(problem, begun, time.monotonic())
        if over.is_set():
            return
        if silent >= HEAD_SECONDS:
            lost(f"{head} does not answer: {problem}")
            return
        if silent >= NOTICE_SECONDS and not noticed:
            _write_line(f"note: {head} does not answer ({problem}); after {HEAD_SECONDS:g} seconds this command ends")
            noticed = True
        elif noticed and not silent:
            _write_line(f"note: {head} answers again")
            noticed = False
        over.wait(_EVERY_SECONDS)


def _write_line(line: str) -> None:
    """On standard error, as it is now: a live view puts what is written there above itself."""
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def end_process(line: str) -> NoReturn:
    """End this process with an error, at once: Ray's exit handlers would wait for the head."""
    if sys.stdout is not None and sys.stdout.isatty():
        sys.stdout.write("\x1b[?25h\n")  # a live view hides the cursor
    for stream, text in ((sys.stdout, ""), (sys.stderr, f"error: {line}\n")):
        if stream is not None:
            stream.write(text)
            stream.flush()
    os._exit(1)
