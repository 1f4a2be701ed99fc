"""Object stores on loopback: moto, and OpenStack Swift with its S3 interface."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.fs as pafs
import pytest

from benchmarks.isolation import ROOT

BUCKET = "longtail-tests"


@contextmanager
def moto() -> Iterator[str]:
    """The address of a mock S3 server in this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        make_bucket(f"http://{host}:{port}", "key", "secret")
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def swift(folder: Path) -> Iterator[str]:
    """The address of a Swift of one process, with its disks in a folder. Skips where it cannot start."""
    pytest.importorskip("swift", reason="needs the PyPI package swift")
    pytest.importorskip("keystonemiddleware", reason="Swift's S3 interface needs the PyPI package keystonemiddleware")
    try:
        os.setxattr(folder, "user.longtail", b"")
    except OSError as error:
        pytest.skip(f"Swift needs extended attributes on {folder}: {error.strerror}")
    command = [sys.executable, "-W", "ignore", str(ROOT / "tests" / "swift_server.py"), str(folder)]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert server.stdout is not None
    try:
        ready, _, _ = select.select([server.stdout], [], [], 60)
        port = server.stdout.readline().strip() if ready else ""
        if not port:
            pytest.skip(f"Swift did not start: {' '.join((folder / 'log').read_text().splitlines()[-1:])}")
        make_bucket(f"http://127.0.0.1:{port}", "test:tester", "testing")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def make_bucket(url: str, key: str, secret: str) -> None:
    """Make the tests' bucket: Longtail makes none itself."""
    pafs.S3FileSystem(
        access_key=key,
        secret_key=secret,
        endpoint_override=urlsplit(url).netloc,
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
    ).create_dir(BUCKET)


def use(monkeypatch: pytest.MonkeyPatch, url: str, key: str = "key", secret: str = "secret") -> None:  # noqa: S107
    """Point AWS's environment variables at a server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
