"""Is a Ray cluster there, and does it let us in? Asked before Ray is, which tries for minutes before it says so."""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from workers.errors import LongtailError

_CONNECT_SECONDS = 10.0
_CLUSTER_ID = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""What every client of Ray asks first; it takes and needs no argument."""


class ClusterError(LongtailError, RuntimeError):
    """A cluster that cannot be reached, that lets nobody in without its token, or that has no place for a worker."""


def check_cluster(address: str) -> None:
    """Raise ClusterError where no Ray cluster is at HOST:PORT, or where it refuses this user's token."""
    place = address.removeprefix("ray://")
    if not place.rpartition(":")[2].isdigit():
        return  # `auto`, and what Ray alone can judge
    check_listening(place, f"no Ray cluster at {address!r}")
    if place == address and _refused(place):
        raise ClusterError(refusal(address))


def check_listening(address: str, problem: str) -> None:
    """Raise ClusterError, which begins with `problem`, where nothing listens at HOST:PORT."""
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise ClusterError(f"address: must be HOST:PORT with a port from 1 to 65535, got {address!r}")
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(f"{problem}: {error}") from error


def refusal(address: str) -> str:
    """One line about a cluster that did not let us in, and what to do. The token itself is in no message."""
    if _mode() != "token":
        return f"the Ray cluster at {address!r} asks for its token, and none was sent: set RAY_AUTH_MODE=token"
    if _token() is None:
        return f"the Ray cluster at {address!r} asks for its token: copy its ~/.ray/auth_token to this user's home"
    source = next((name for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if name in os.environ), None)
    return f"the Ray cluster at {address!r} refuses this user's token ({source or '~/.ray/auth_token'}): it has another"


def _refused(address: str) -> bool:
    """Whether the cluster says that the token is missing or wrong; False where it says anything else."""
    import grpc  # type: ignore[import-untyped]

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
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        return (Path(path) if path else Path.home() / ".ray" / "auth_token").read_text().strip() or None
    except OSError:
        return None
