#!/usr/bin/env python3
"""Watches for the notice that this spot machine is about to be taken away, and has Ray drain the node when it comes.

    spot_watch.py aws|gcp HEAD:6379

Asks the cloud's metadata service every two seconds: AWS announces the end two minutes ahead (and, without a time, that
it is likely: a rebalance recommendation), Google Cloud 30 seconds ahead. `ray drain-node` then tells the cluster:
Longtail sends the node nothing more, and what it has not begun goes to others. Ends with 0 once the node is drained.
Standard library only; RAY_AUTH_MODE and the token are those of the machine's `ray start`.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

SERVICES = {"aws": "http://169.254.169.254", "gcp": "http://metadata.google.internal"}
GCP_SECONDS = 30
_TIMEOUT_SECONDS = 2
_TOKEN_SECONDS = 21_600
_OPEN = build_opener(ProxyHandler({})).open  # metadata never come through a proxy


class Notice(NamedTuple):
    """That the machine goes: why, and in how many seconds; None where that is not known."""

    reason: str
    seconds: int | None


def ask(url: str, headers: dict[str, str], method: str = "GET") -> str | None:
    """The text at a URL; None where there is none (404). Raises OSError."""
    try:
        with _OPEN(Request(url, headers=headers, method=method), timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - http only
            text: str = answer.read().decode()
            return text
    except HTTPError as error:
        if error.code == 404:
            return None
        raise


class Aws:
    """EC2's instance metadata, version 2: every question needs a token, which lasts for hours."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._token: str | None = None

    def __call__(self) -> Notice | None:
        """The notice, if there is one. Raises OSError, ValueError where the service answers something else."""
        action = self._ask("spot/instance-action")
        if action is not None:
            found = json.loads(action)
            return Notice(f"spot {found['action']}", remaining(found["time"]))
        if self._ask("events/recommendations/rebalance") is not None:
            return Notice("rebalance recommendation", None)
        return None

    def _ask(self, what: str) -> str | None:
        for _ in range(2):
            if self._token is None:
                lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
                self._token = ask(f"{self._service}/latest/api/token", lifetime, "PUT")
            try:
                headers = {"X-aws-ec2-metadata-token": self._token or ""}
                return ask(f"{self._service}/latest/meta-data/{what}", headers)
            except HTTPError as error:
                if error.code != 401:
                    raise
                self._token = None  # it has expired
        raise OSError("the metadata service refuses its own token")


class Gcp:
    """Compute Engine's metadata."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self) -> Notice | None:
        """The notice, if there is one. Raises OSError."""
        place = f"{self._service}/computeMetadata/v1/instance/preempted"
        answer = ask(place, {"Metadata-Flavor": "Google"})
        return Notice("preemption", GCP_SECONDS) if (answer or "").strip() == "TRUE" else None


def remaining(moment: str) -> int:
    """Seconds until a time such as 2026-01-31T08:22:00Z; 0 where that is over."""
    return max(0, int((datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()))


def own_node() -> str:
    """The id of this machine's Ray node, as its raylet was started with. Raises OSError where none runs."""
    for words in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command, *flags = words.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has just ended
        if Path(command).name == "raylet":
            for flag in flags:
                if flag.startswith("--node_id="):
                    return flag.partition("=")[2]
    raise OSError("no raylet runs on this machine")


def drain(ray: str, address: str, node: str, notice: Notice) -> None:
    """Tell the cluster. Raises OSError where it does not take it."""
    command = [ray, "drain-node", "--address", address, "--node-id", node]
    command += ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", notice.reason]
    if notice.seconds is not None:
        command += ["--deadline-remaining-seconds", str(notice.seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise OSError(((done.stdout + done.stderr).strip() or "ray drain-node failed").splitlines()[-1])


def watch(look: Callable[[], Notice | None], tell: Callable[[Notice], None], every: float) -> Notice:
    """Look until there is a notice and it has been passed on. What goes wrong is printed once, and tried again."""
    said = ""
    while True:
        try:
            notice = look()
            if notice is not None:
                tell(notice)
                return notice
            problem = ""
        except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
            problem = f"{type(error).__name__}: {error}"
        if problem and problem != said:
            print(problem, file=sys.stderr, flush=True)
        said = problem
        time.sleep(every)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cloud", choices=sorted(SERVICES))
    parser.add_argument("address", help="the head's GCS: HOST:PORT")
    parser.add_argument("--node-id", help="default: that of this machine's raylet")
    parser.add_argument("--service", help="where the metadata are; default: the cloud's own address")
    parser.add_argument("--ray", default="ray", help="the ray command")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two questions")
    given = parser.parse_args()
    service = given.service or SERVICES[given.cloud]
    look = Aws(service) if given.cloud == "aws" else Gcp(service)
    notice = watch(look, lambda found: drain(given.ray, given.address, given.node_id or own_node(), found), given.every)
    print(f"drained: {notice.reason}, {notice.seconds} s left", flush=True)


if __name__ == "__main__":
    main()
