#!/usr/bin/env python3
"""Brings a campaign's data from an object store to a folder of this machine.

    fetch_data.py s3://BUCKET/data /home/ray/data

Copies every file but those that are there with the same size and are no older than the source's. Each file gets its
name once it is whole. Files of the folder that the source does not have are kept and named on standard error.
Credentials are those of the machine (a role, AWS_*, GOOGLE_APPLICATION_CREDENTIALS).
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyarrow import fs

_AT_ONCE = 16


def fetch(source: str, folder: Path) -> tuple[int, int]:
    """(files copied, files that were there). Raises OSError, ValueError where the source cannot be read or is empty."""
    store, root, found = _listed(source)
    if not found:
        raise ValueError(f"{source}: holds no files")
    local = fs.LocalFileSystem()

    def copy(info: fs.FileInfo) -> bool:
        place = folder / Path(info.path).relative_to(root)
        if not place.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{info.path}: leads out of {folder}")
        if _is_current(place, info):
            return False
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.part")
        fs.copy_files(info.path, str(part), source_filesystem=store, destination_filesystem=local)
        part.replace(place)
        return True

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        copied = sum(pool.map(copy, found))
    return copied, len(found) - copied


def extra_files(source: str, folder: Path) -> list[Path]:
    """The folder's files that the source does not have. Raises OSError."""
    _, root, found = _listed(source)
    known = {Path(info.path).relative_to(root) for info in found}
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if path not in known)


def _listed(source: str) -> tuple[fs.FileSystem, str, list[fs.FileInfo]]:
    """The source's file system, its folder there, and all files below it. Raises OSError."""
    store, root = fs.FileSystem.from_uri(source.rstrip("/"))
    below = store.get_file_info(fs.FileSelector(root, recursive=True))
    return store, root, [info for info in below if info.type == fs.FileType.File]


def _is_current(place: Path, info: fs.FileInfo) -> bool:
    """Whether a local file is that of the source: labels that were corrected since keep the size of their file."""
    if not place.is_file():
        return False
    local = place.stat()
    return local.st_size == info.size and (info.mtime_ns is None or local.st_mtime_ns >= info.mtime_ns)


def main() -> int:
    """See the module."""
    if len(sys.argv) != 3:
        print("usage: fetch_data.py SOURCE FOLDER", file=sys.stderr)
        return 2
    source, folder = sys.argv[1], Path(sys.argv[2])
    try:
        copied, there = fetch(source, folder)
        extra = extra_files(source, folder)
    except (OSError, ValueError) as error:
        print(f"error: {source} cannot be brought to {folder}: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: {copied} files copied, {there} were there")
    if extra:
        print(f"warning: {folder}: files that are not in {source}: {len(extra)}, first {extra[0]}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
