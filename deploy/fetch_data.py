#!/usr/bin/env python3
"""Brings a campaign's data from an object store to a folder of this machine.

    fetch_data.py s3://BUCKET/data /home/ray/data

Files that are there with the same size are left alone; each file gets its name once it is whole. Credentials are those
of the machine (a role, AWS_*, GOOGLE_APPLICATION_CREDENTIALS).
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyarrow import fs

_AT_ONCE = 16


def fetch(source: str, folder: Path) -> tuple[int, int]:
    """(files copied, files that were there). Raises OSError, ValueError where the source cannot be read or is empty."""
    store, root = fs.FileSystem.from_uri(source.rstrip("/"))
    found = [
        info for info in store.get_file_info(fs.FileSelector(root, recursive=True)) if info.type == fs.FileType.File
    ]
    if not found:
        raise ValueError(f"{source}: holds no files")
    local = fs.LocalFileSystem()

    def copy(info: fs.FileInfo) -> bool:
        place = folder / Path(info.path).relative_to(root)
        if not place.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{info.path}: leads out of {folder}")
        if place.is_file() and place.stat().st_size == info.size:
            return False
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.part")
        fs.copy_files(info.path, str(part), source_filesystem=store, destination_filesystem=local)
        part.replace(place)
        return True

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        copied = sum(pool.map(copy, found))
    return copied, len(found) - copied


def main() -> int:
    """See the module."""
    if len(sys.argv) != 3:
        print("usage: fetch_data.py SOURCE FOLDER", file=sys.stderr)
        return 2
    source, folder = sys.argv[1], Path(sys.argv[2])
    try:
        copied, there = fetch(source, folder)
    except (OSError, ValueError) as error:
        print(f"error: {source} cannot be brought to {folder}: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: {copied} files copied, {there} were there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
