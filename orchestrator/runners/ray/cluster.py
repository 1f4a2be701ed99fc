"""Connects to a Ray cluster with the user's token, or starts one on this machine."""

import logging
import os
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
import torch
from ray.job_config import JobConfig

from orchestrator.runners.ray.head_watch import watch_head
from orchestrator.runners.ray.preflight import ClusterError, check_cluster, check_token_file, make_token
from workers.campaign.campaign import Campaign
from workers.common.usable_cores import usable_cores
from workers.training import Precision
from workers.training.hardware import Machine, detect_machine
from workers.training.stack_calibration import calibrate
from workers.training.stack_choice import StackChoice
from workers.user_code.code_origin import add_user_folder
from workers.user_code.loading import trusted_code

_OBJECT_STORE_BYTES = 100 * 2**20

_MAX_BASE = 20
"""A socket's path has at most 107 characters (103 on macOS), and Ray puts 64 behind its folder."""

HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 5,
}
"""A node that hangs is given up after ten seconds, not after a minute. Not sooner: one that was only busy does not come
back. For `ray start --head --system-config` as well."""


class _JobConfig(JobConfig):  # type: ignore[misc]
    """Tells Ray not to put the folders of the command and of the script first on its workers' path, where a user's
    `orchestrator.py` or `analysis.py` would hide Longtail's; `extend_path` puts them last.

    Ray leaves them out where a job's code comes from its `working_dir`.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def connect(address: str | None, workers: int | None, working_dir: str | None) -> None:
    """Join a cluster, or start one on this machine without a dashboard; Ray lets in only who has this user's token.

    `address` None falls back to RAY_ADDRESS, then to a new cluster with at least `workers` CPUs. Raises ClusterError.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    # Workers keep the CUDA_VISIBLE_DEVICES they were started with; without this Ray announces a change of default.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "job_config": _JobConfig()}
    check_token_file()
    if address:
        check_cluster(address)
        environment: dict[str, Any] = {"working_dir": working_dir} if working_dir else {}
        environment |= {"env_vars": trusted} if (trusted := trusted_code()) else {}
        options |= {"address": address, "runtime_env": environment or None}
    else:
        make_token()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options |= {"address": "local", "num_cpus": max(workers or 0, usable_cores())}
        options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
        options |= {"_system_config": dict(HEALTH_CHECKS), "_temp_dir": str(private_folder() / "ray")}
        if not Path("/dev/shm").is_dir():  # noqa: S108 - where Ray keeps objects, unless told otherwise
            options["_plasma_directory"] = tempfile.gettempdir()
    with _own_sigterm():
        before = _children()
        try:
            ray.init(**options)
        except Exception as error:  # Ray raises that itself where its daemons do not start in 30 seconds
            _end(_children() - before)  # those that did start would otherwise stay until this process ends
            where = f"no Ray cluster at {address!r}" if address else "no Ray cluster can be started on this machine"
            raise ClusterError(f"{where}: {(str(error) or type(error).__name__).splitlines()[0]}") from error


def _children() -> set[Any]:
    """The processes that this one has started and that still run."""
    import psutil  # Ray brings it, and puts it on the path

    return {child for child in psutil.Process().children() if child.is_running()}


def _end(processes: set[Any]) -> None:
    import psutil

    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.kill()


@contextmanager
def connected(address: str | None, workers: int | None, working_dir: str | None) -> Iterator[None]:
    """On the caller's cluster, where this process is connected to one; else as `connect`. A context.

    Where the cluster's head is lost meanwhile, the process ends: see `head_watch`. Raises ClusterError.
    """
    ours = not ray.is_initialized()
    if ours:
        connect(address, workers, working_dir)
    with watch_head(ray.get_runtime_context().gcs_address):
        try:
            yield
        finally:
            if ours:
                ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep this process's handler of SIGTERM: Ray installs its own, which ends the driver at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def private_folder() -> Path:
    """A folder for temporary files that no other user can enter, the same one each time; made if missing.

    Ray makes its own folders writable to everybody. The name is short, since Ray's sockets lie below. Raises
    ClusterError where another user has taken it.
    """
    base = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    folder = (base if len(str(base)) <= _MAX_BASE else Path("/tmp")) / f"longtail-{os.geteuid()}"  # noqa: S108
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise ClusterError(
                f"{folder}: is not a folder of this user; RAY_TMPDIR names another place for Ray's files"
            )
        folder.chmod(0o700)
    except OSError as error:
        raise ClusterError(f"{folder}: cannot be made for Ray's files ({error.strerror}); set RAY_TMPDIR") from error
    return folder


class MachineProbe:
    """An actor that detects and measures the GPU that Ray gives it."""

    def __init__(self, path: Sequence[str]) -> None:
        extend_path(path)

    def detect_machine(self) -> Machine:
        """See `workers.training.hardware.detect_machine`."""
        return detect_machine(torch.device("cuda"))

    def calibrate(self, campaign: Campaign, sizes: Sequence[int], precision: Precision) -> StackChoice:
        """See `workers.training.stack_calibration.calibrate`."""
        return calibrate(campaign, sizes, precision, torch.device("cuda"))


def search_path() -> list[str]:
    """The module search path of this process, the folder where it was called first."""
    return [os.getcwd(), *sys.path]  # noqa: PTH109 - a string for sys.path


def extend_path(path: Sequence[str]) -> None:
    """Add the driver's own modules, where this node has them too; a `working_dir` comes first."""
    sys.path.extend(folder for folder in path if folder not in sys.path)
    add_user_folder(path[0])
