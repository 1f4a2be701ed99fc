"""Checks that a Ray cluster is reachable and accepts our token, before Ray's own connection attempts."""

import os
import secrets
import shlex
import socket
from pathlib import Path
from urllib.parse import urlsplit

from workers.errors import CommandError, LongtailError

_CONNECT_SECONDS = 10.0
_CLUSTER_ID = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""What every client of Ray asks first; it takes and needs no argument."""


class ClusterError(LongtailError, RuntimeError):
    """A cluster that cannot be reached, that rejects the token, or that has no slot for a worker."""


def check_cluster(address: str) -> None:
    """Raise ClusterError where no Ray cluster is at HOST:PORT, or where it refuses this user's token."""
    place = address.removeprefix("ray://")
    if not place.rpartition(":")[2].isdigit():
        return  # `auto`, and what Ray alone can judge
    check_listening(place, f"no Ray cluster at {address!r}")
    if place == address and _refused(place):
        raise ClusterError(refusal(address))


def check_listening(address: str, problem: str) -> None:
    """Raise ClusterError, which begins with `problem`, where nothing listens at HOST:PORT. CommandError: it is none."""
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise CommandError(f"address: must be HOST:PORT with a port from 1 to 65535, got {address!r}")
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(f"{problem}: {error}") from error


def check_token_file() -> None:
    """Raise ClusterError where this user's token file can be read by others: it lets in whoever has it.

    As ssh does with keys, this holds for files that this user owns: others' modes, such as those of a mounted secret,
    are not the user's to change. A token in the environment comes first, and then no file is read.
    """
    path = _token_path()
    if _mode() not in ("", "token") or os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return
    try:
        status = path.stat()
    except OSError:
        return  # there is none, or Ray will say what is wrong with it
    if status.st_uid == os.geteuid() and status.st_mode & 0o077:
        mode = f"{status.st_mode & 0o777:04o}"
        raise ClusterError(
            f"{path}: other users of this machine may use the Ray token (its mode is {mode}, must be 0600): "
            f"chmod 600 {shlex.quote(str(path))}"
        )


def make_token() -> None:
    """Write a token that only this user can read, where a cluster of its own would need one and there is none.

    Ray would make one itself, readable as the umask says; to change that would also hide what workers write to stores.
    Raises ClusterError.
    """
    if _mode() not in ("", "token") or _token() is not None or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    path = _token_path()
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:  # noqa: PTH123 - a descriptor
            file.write(secrets.token_hex(32))
    except FileExistsError:
        return  # another process was first
    except OSError as error:
        raise ClusterError(f"{path}: cannot be made for the Ray cluster's token: {error.strerror}") from error


def refusal(address: str) -> str:
    """One line about a cluster that rejected the token, and what to do. Does not contain the token."""
    if _mode() != "token":
        return f"the Ray cluster at {address!r} asks for its token, and none was sent: set RAY_AUTH_MODE=token"
    if _token() is None:
        return f"the Ray cluster at {address!r} asks for its token: copy its ~/.ray/auth_token to this user's home"
    source = next((name for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if name in os.environ), None)
    return f"the Ray cluster at {address!r} refuses this user's token ({source or '~/.ray/auth_token'}): it has another"


def _refused(address: str) -> bool:
    """Whether the cluster says that the token is missing or wrong; False where it says anything else."""
    import grpc

    if os.environ.get("RAY_USE_TLS", "0") != "0" or _mode() not in ("", "disabled", "token"):
        return False  # encrypted, or known by other means: Ray alone can ask
    token = _token() if _mode() == "token" else None
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(_CLUSTER_ID)(b"", timeout=_CONNECT_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            return bool(error.code() is grpc.StatusCode.UNAUTHENTICATED)
    return False


def _mode() -> str:
    return os.environ.get("RAY_AUTH_MODE", "").lower()


def _token() -> str | None:
    """The token that Ray would send, found where Ray looks for it."""
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    try:
        return _token_path().read_text().strip() or None
    except OSError:
        return None


def _token_path() -> Path:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(path) if path else Path.home() / ".ray" / "auth_token"
