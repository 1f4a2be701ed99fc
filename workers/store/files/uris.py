"""Opens the file system of a store's URI. Credentials come from the environment only.

A URI is kept in logs, shell histories and notebooks, so one that holds a secret is refused, without repeating it.
"""

import os
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from workers.errors import NoStoreError
from workers.store.files.errors import wrap_os_errors

CONNECT_SECONDS = 4.0
SILENCE_SECONDS = 8.0
"""A connection without a byte for so long is given up (pyarrow calls it a request's time-out)."""
ATTEMPTS = 2
"""Attempts of one S3 request within pyarrow. `RemoteFiles` repeats what they could not do, in the long run."""
GCS_SECONDS = 5.0
"""For so long pyarrow repeats one GCS request."""

_SECRET = re.compile(r"key|secret|token|passw|passphrase|credential|signature|^(?:sig|sas|pwd|pw|auth)$", re.IGNORECASE)
_FROM_ENVIRONMENT = "credentials are taken from the environment alone"


def open_location(uri: str) -> tuple[pafs.FileSystem, str]:
    """(file system, path in it) of a URI. Contacts AWS for a bucket's region, where the URI names none.

    Raises StoreError.
    """
    scheme = uri.partition("://")[0].lower()
    options = _options(uri, scheme)
    with wrap_os_errors(without_query(uri)):
        if scheme in _SYSTEMS:
            host = _path(uri).partition("/")[0]
            return _SYSTEMS[scheme](options, host), _path(uri)
        try:
            filesystem, root = pafs.FileSystem.from_uri(uri)
        except pa.ArrowInvalid:
            from fsspec.core import url_to_fs

            known, root = url_to_fs(uri)
            filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(known))
        return filesystem, root.rstrip("/")


def without_query(uri: str) -> str:
    """A URI as messages show it: options may hold anything."""
    return uri.partition("?")[0].rstrip("/")


def _path(uri: str) -> str:
    """bucket/key of a URI, without the `user@` of a public bucket."""
    return unquote(without_query(uri).partition("://")[2].rpartition("@")[2])


def _options(uri: str, scheme: str) -> dict[str, str]:
    """The options in a URI, and `anonymous` for `gs://anonymous@bucket`. Raises StoreError, without their values."""
    authority = re.split(r"[/?#]", uri.partition("://")[2], maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    shown = f"{scheme}://{without_query(uri).partition('://')[2].rpartition('@')[2]}"
    if ":" in user or (at and scheme == "s3") or (at and scheme in _GCS and user != "anonymous"):
        raise NoStoreError(f"{shown}: the URI must not name a user or a password: {_FROM_ENVIRONMENT}")
    options = dict(parse_qsl(urlsplit(uri).query, keep_blank_values=True))
    allowed = _ALLOWED.get(scheme)
    for name in options:
        if _SECRET.search(name):
            raise NoStoreError(f"{shown}: the URI must not have the option {name!r}: {_FROM_ENVIRONMENT}")
        if allowed is not None and name not in allowed:
            raise NoStoreError(f"{shown}: has the unknown option {name!r}; allowed: {', '.join(allowed)}")
    return {**options, "anonymous": "true"} if at and scheme in _GCS else options


def _s3(options: Mapping[str, str], bucket: str) -> pafs.FileSystem:
    endpoint = options.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL_S3")
    endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL") or ""
    scheme, separator, host = endpoint.rpartition("://")
    return pafs.S3FileSystem(
        endpoint_override=host.rstrip("/") or None,
        scheme=options.get("scheme") or (scheme if separator else "https"),
        region=options.get("region") or (None if host else _region(bucket)),
        connect_timeout=CONNECT_SECONDS,
        request_timeout=SILENCE_SECONDS,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,  # one PUT, where it otherwise takes three requests
    )


@cache
def _region(bucket: str) -> str:
    return str(pafs.resolve_s3_region(bucket))


def _gcs(options: Mapping[str, str], bucket: str) -> pafs.FileSystem:
    return pafs.GcsFileSystem(
        anonymous="anonymous" in options,
        endpoint_override=options.get("endpoint_override"),
        scheme=options.get("scheme", "https"),
        retry_time_limit=timedelta(seconds=GCS_SECONDS),
    )


_GCS = ("gs", "gcs")
_SYSTEMS: dict[str, Callable[[Mapping[str, str], str], pafs.FileSystem]] = {"s3": _s3, "gs": _gcs, "gcs": _gcs}
_ALLOWED = {
    "s3": ("endpoint_override", "region", "scheme"),
    "gs": ("endpoint_override", "scheme"),
    "gcs": ("endpoint_override", "scheme"),
}
