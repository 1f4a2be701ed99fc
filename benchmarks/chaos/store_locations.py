"""Locations of a campaign's store: a small disk that can be full, or an S3 server that can fail."""

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol

import pyarrow.fs as pafs

_DISK_BYTES = 32 * 2**20
_MNT_DETACH = 2  # as soon as nobody uses it
_BUCKET = "chaos"
_ERRORS = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE, None)


class StoreLocation(Protocol):
    """The location of a store. `environment`: what workers and drivers need to reach it; this process needs nothing."""

    uri: str
    environment: dict[str, str]
    poll_seconds: float

    def repair(self) -> None:
        """Take every fault away."""

    def close(self) -> None:
        """End it."""


class Disk:
    """A file system in memory of 32 MB, mounted in this process's own mount namespace."""

    poll_seconds = 0.05

    def __init__(self, folder: Path) -> None:
        """Raises OSError where mounting is not permitted."""
        self._folder = folder
        folder.mkdir()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, f"size={_DISK_BYTES}".encode()):
            raise OSError(ctypes.get_errno(), f"{folder}: cannot mount a file system")
        self._libc = libc
        self.uri = str(folder / "store")
        self.environment: dict[str, str] = {}

    def fill(self) -> None:
        """Leave no byte free."""
        with (self._folder / "filler").open("ab", buffering=0) as file, suppress(OSError):
            for size in (2**20, 2**12, 1):
                with suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def repair(self) -> None:
        (self._folder / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        self._libc.umount2(os.fsencode(self._folder), _MNT_DETACH)


class Bucket:
    """An S3 server (moto) at two ports: requests of the campaign can be made to fail, those of readers do not."""

    poll_seconds = 0.1

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Silent(WSGIRequestHandler):
            def log(self, *words: Any) -> None:
                pass

        application = DomainDispatcherApplication(create_backend_app)
        self.frontend = FailingFrontend(application)
        self._servers = [
            make_server("127.0.0.1", 0, app, threaded=True, request_handler=Silent)
            for app in (application, self.frontend)
        ]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        sound, failing = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        keys = {"AWS_ACCESS_KEY_ID": "chaos", "AWS_SECRET_ACCESS_KEY": "chaos", "AWS_DEFAULT_REGION": "us-east-1"}
        keys |= {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
        self.environment = {**keys, "AWS_ENDPOINT_URL": failing}
        os.environ.update({**keys, "AWS_ENDPOINT_URL": sound})
        self._make_bucket(sound)
        self.uri = f"s3://{_BUCKET}/store"

    @staticmethod
    def _make_bucket(endpoint: str) -> None:
        pafs.S3FileSystem(endpoint_override=endpoint, allow_bucket_creation=True).create_dir(_BUCKET)

    def repair(self) -> None:
        self.frontend.fail(0)

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()


class FailingFrontend:
    """A WSGI application before another: answers some requests with 500, 503, or by resetting the connection."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._left = 0
        self.failed = 0
        """Requests that failed so far."""

    def fail(self, requests: int) -> None:
        """Let so many coming requests fail."""
        with self._lock:
            self._left = requests

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            failing = self._left > 0
            if not failing:
                return self._application(environ, start_response)
            self._left -= 1
            self.failed += 1
            status = _ERRORS[self.failed % len(_ERRORS)]
        if status is None:
            connection: socket.socket = environ["werkzeug.socket"]
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            raise ConnectionResetError
        environ["wsgi.input"].read()
        start_response(
            f"{status.value} {status.phrase}", [("Content-Type", "application/xml"), ("Connection", "close")]
        )
        code = "SlowDown" if status == HTTPStatus.SERVICE_UNAVAILABLE else "InternalError"
        return [f"<Error><Code>{code}</Code><Message>chaos</Message></Error>".encode()]
