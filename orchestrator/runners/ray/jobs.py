"""Runs campaign drivers as Ray jobs on the cluster's head node."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from orchestrator.runners.ray.head_watch import Outage
from orchestrator.runners.ray.preflight import ClusterError, check_listening, check_token_file, refusal
from workers.errors import CommandError
from workers.user_code.loading import trusted_code

_POLL_SECONDS = 1.0
_UNREACHABLE_SECONDS = 30.0
"""After so long without an answer of the dashboard we stop following."""

_TIMEOUT_SECONDS = (10.0, 30.0)
"""For connecting, and between two bytes of an answer. Ray's client would wait for ever for a head that is frozen."""


class JobRunningError(ClusterError):
    """A store for which a driver already runs."""


class _Client(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client with a timeout on every request."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", _TIMEOUT_SECONDS)
        response: requests.Response = super()._do_request(method, endpoint, **options)
        return response


class Jobs:
    """The jobs of the cluster whose dashboard is at `address`, such as http://HEAD:8265.

    Raises ClusterError, or CommandError where the address is none.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise CommandError(f"--address: must be http://HOST:PORT of the cluster's dashboard, got {address!r}")
        self.address = f"{parts.scheme}://{parts.netloc}"
        check_token_file()
        check_listening(
            parts.netloc if parts.port else f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}",
            f"no Ray dashboard at {self.address!r}",
        )
        # Ray would go to another cluster that the environment names; here the caller's word counts.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address
        for handler in logging.getLogger("ray").handlers:
            handler.setLevel(logging.WARNING)
        with self._wrap_errors():
            self._client = _Client(self.address)

    def submit(self, name: str, command: str, folder: Path, metadata: dict[str, str]) -> str:
        """Start `command` in a copy of `folder`, without a CPU or GPU of its own; returns the job's id, NAME-1, -2, ...

        Raises JobRunningError where a job of that name has not ended, ClusterError.
        """
        while True:
            number = self._next(name)
            try:
                with self._wrap_errors():
                    job: str = self._client.submit_job(
                        entrypoint=command,
                        submission_id=f"{name}-{number}",
                        runtime_env={"working_dir": str(folder), "env_vars": trusted_code()},
                        metadata=metadata,
                        entrypoint_num_cpus=0,
                        entrypoint_num_gpus=0,
                    )
                return job
            except ClusterError as error:
                # Ray gives an id to one job only: of several that submit at a time, the others look again.
                if "already exists" not in str(error):
                    raise

    def follow(self, job: str, write: Callable[[str], None]) -> int:
        """Pass on what the job prints until it ends; its exit code, 130 where it was stopped. Raises ClusterError."""
        details = asyncio.run(self._followed(job, write))
        if details.status is JobStatus.SUCCEEDED:
            return 0
        if details.status is JobStatus.STOPPED:
            return 130
        if details.driver_exit_code:
            return int(details.driver_exit_code)
        raise ClusterError(f"{job} failed: {(details.message or 'Ray does not say why').splitlines()[0]}")

    def _next(self, name: str) -> int:
        """The number of the next job of that name. JobRunningError where the last one has not ended."""
        with self._wrap_errors():
            jobs = [job for job in self._client.list_jobs() if (job.submission_id or "").startswith(f"{name}-")]
        for job in jobs:
            if not job.status.is_terminal():
                store = (job.metadata or {}).get("store", "this store")
                raise JobRunningError(f"{job.submission_id} already trains into {store} ({job.status.lower()})")
        numbers = ((job.submission_id or "").removeprefix(f"{name}-") for job in jobs)
        return max((int(number) for number in numbers if number.isdecimal()), default=0) + 1

    async def _followed(self, job: str, write: Callable[[str], None]) -> JobDetails:
        """The job once it has ended. Requested beside its log, whose end Ray tells five seconds late."""
        log, outage = _Log(write), Outage()
        tail = asyncio.create_task(self._tail(job, log))
        while True:
            await asyncio.wait([tail], timeout=_POLL_SECONDS)
            begun = time.monotonic()
            try:
                with self._wrap_errors():
                    details = self._client.get_job_info(job)
                    if details.status.is_terminal():
                        tail.cancel()
                        log.add(0, self._client.get_job_logs(job))
                        return details
                outage.seconds(None, begun, time.monotonic())
            except ClusterError as error:
                if outage.seconds(str(error), begun, time.monotonic()) >= _UNREACHABLE_SECONDS:
                    tail.cancel()
                    raise ClusterError(f"{error}; where the cluster goes on, so does {job}") from error
            if tail.done():
                await asyncio.sleep(_POLL_SECONDS)
                tail = asyncio.create_task(self._tail(job, log))

    async def _tail(self, job: str, log: "_Log") -> None:
        """Pass on the log until its end, or until the connection breaks: a new one starts at the log's beginning."""
        position = 0
        with suppress(aiohttp.ClientError, RuntimeError, OSError):
            async for text in self._client.tail_job_logs(job):
                log.add(position, text)
                position += len(text)

    @contextmanager
    def _wrap_errors(self) -> Iterator[None]:
        """Convert errors of the client to ClusterErrors of one line."""
        try:
            yield
        except AuthenticationError as error:
            raise ClusterError(refusal(self.address)) from error
        except requests.ReadTimeout as error:
            raise ClusterError(
                f"the Ray dashboard at {self.address!r} does not answer: it accepts connections and sends nothing"
            ) from error
        except (requests.RequestException, ConnectionError) as error:
            raise ClusterError(f"no Ray dashboard at {self.address!r}: {type(error).__name__}") from error
        except (RuntimeError, ValueError) as error:
            # A traceback of the cluster's, which ends with the reason.
            lines = [line for line in str(error).splitlines() if len(line) > 1] or [type(error).__name__]
            raise ClusterError(f"the Ray cluster at {self.address!r} rejected the request: {lines[-1]}") from error


class _Log:
    """Passes on each piece of a text once, however often it is read from its beginning."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._written = 0

    def add(self, position: int, text: str) -> None:
        """The text that begins at this position."""
        fresh = text[max(0, self._written - position) :]
        if fresh:
            self._write(fresh)
            self._written = position + len(text)
