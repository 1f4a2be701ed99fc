"""A Ray cluster of processes on this machine: a head without CPUs, and nodes that join, freeze and are killed.

Meant for the inside of a network and process namespace. Every node has an address (127.0.0.x), a folder and a process
tree of its own, so that a whole node can be stopped or killed. Health checks are fast; clients need the token.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from benchmarks.isolation import descendants, kill

PORT = 6399
ADDRESS = f"127.0.0.1:{PORT}"

_OBJECT_STORE_BYTES = 80_000_000
_WORKER = re.compile(r"ray::(?!IDLE|DashboardAgent|RuntimeEnvAgent|\w*Agent)\w")
_SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
}
"""Nodes that no longer answer are given up after 2 to 3 s, a head that is gone after 5 s."""


def cluster_environment() -> dict[str, str]:
    """What every process that starts or joins the cluster needs."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **_SETTINGS, "PATH": path, "PYTHONWARNINGS": "ignore"}


class Node:
    """A node: `ray start --block` and everything below it."""

    def __init__(self, address: str, process: subprocess.Popen[bytes]) -> None:
        self.address = address
        self._process = process
        self._all: set[int] = {process.pid}

    def processes(self) -> dict[int, str]:
        """Process ids and command lines of what the node consists of now."""
        return {self._process.pid: "ray start", **dict(descendants(self._process.pid))}

    def workers(self) -> list[int]:
        """The processes that hold a campaign's workers."""
        return [pid for pid, title in self.processes().items() if _WORKER.match(title)]

    def kill_raylet(self) -> None:
        """SIGKILL to the raylet: the node is lost, its workers end by themselves."""
        self._kill("/raylet/raylet ")

    def kill(self) -> None:
        """SIGKILL to everything at once, as when a machine goes away."""
        for pid in {*self.processes(), *self._all}:
            kill(pid)

    def freeze(self) -> None:
        """SIGSTOP to everything: a machine that hangs, or that is cut off."""
        self._all = set(self.processes())
        for pid in self._all:
            kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to everything that was frozen: it goes on where it was, knowing nothing."""
        for pid in self._all:
            kill(pid, signal.SIGCONT)

    def ended(self) -> bool:
        """Is the node's first process gone; it ends when the raylet does."""
        return self._process.poll() is not None

    def _kill(self, title: str) -> None:
        for pid, words in self.processes().items():
            if title in words:
                kill(pid)


class Cluster:
    """The head and the nodes that are part of it. `folder` must have a short name: Ray's sockets lie there."""

    def __init__(self, folder: Path, environment: dict[str, str], *, nodes: int, cpus: int) -> None:
        self.folder = folder
        self.environment = environment
        self.size = nodes
        self.cpus = cpus
        self.nodes: list[Node] = []
        self._gone: list[Node] = []
        self._joined = 0

    def start(self) -> None:
        """The head, and as many nodes as the cluster should have; returns when all of them are there."""
        words = ["--head", "--port", str(PORT), "--num-cpus", "0", "--include-dashboard", "false", "--no-monitor"]
        self.head = self._start("127.0.0.1", words)
        self.ask("reachable").wait()
        for _ in range(self.size):
            self.join()
        if self.ask("alive", str(self.size + 1)).wait():
            raise RuntimeError(f"the cluster did not start: see {self.folder}")

    def join(self) -> Node:
        """A new node, on its way."""
        self._joined += 1
        address = f"127.0.0.{self._joined + 1}"
        node = self._start(address, ["--address", ADDRESS, "--num-cpus", str(self.cpus)])
        self.nodes.append(node)
        return node

    def leave(self, node: Node) -> None:
        """Count a node as lost: it is chosen for nothing any more."""
        self.nodes.remove(node)
        self._gone.append(node)

    def ask(self, *words: str) -> subprocess.Popen[bytes]:
        """A process that asks the head, or waits until something is so: see `benchmarks.chaos.nodes`."""
        return self.call([sys.executable, "-m", "benchmarks.chaos.nodes", ADDRESS, *words])

    def call(self, command: list[str]) -> subprocess.Popen[bytes]:
        """A client of the cluster."""
        with (self.folder / "calls.log").open("ab") as log:
            return subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=log)

    def close(self) -> None:
        """End everything."""
        for node in [*self.nodes, *self._gone, *([self.head] if hasattr(self, "head") else [])]:
            node.kill()
        self.nodes, self._gone = [], []

    def _start(self, address: str, words: list[str]) -> Node:
        self._starts = getattr(self, "_starts", 0) + 1
        folder = self.folder / str(self._starts)
        folder.mkdir(parents=True)
        log: IO[bytes]
        with (folder / "log").open("wb") as log:
            command = [*("ray", "start", "--block", "--node-ip-address", address), *words]
            command += [*("--temp-dir", str(folder), "--include-log-monitor", "false")]
            command += ["--object-store-memory", str(_OBJECT_STORE_BYTES)]
            # A session of its own: what a signal to this process's group ends are not the nodes.
            process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        return Node(address, process)
