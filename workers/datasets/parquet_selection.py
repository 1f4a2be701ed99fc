"""Selects the Parquet files of `train` and `test`, and checks that they are one complete split.

The Hugging Face hub puts every split of a data set into one folder, as `train-00000-of-00002.parquet`. So a selection
that holds two splits, two exports of one split, a file twice or too few of the numbered files is a mistake.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.datasets.parquet_files import open_parquet, parquet_errors
from workers.errors import DataError

_SHARD = re.compile(r"(?P<series>.*?)[-_.]?(?P<index>\d+)[-_.]of[-_.](?P<count>\d+)(?![0-9]).*", re.DOTALL)
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF_WORD = {word: split for split, words in _SPLITS.items() for word in words}
_UNNAMED = "*"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Selection:
    """What one of the fields `train` and `test` names."""

    field: str
    where: Path
    """The file, folder or pattern, absolute."""
    files: tuple[Path, ...]
    """In sorted order."""

    @property
    def is_one_file(self) -> bool:
        """Whether the field names the file itself, and so says what was meant."""
        return self.files == (self.where,)


@dataclass(frozen=True)
class _Shard:
    """One of `count` numbered files of a series, as `train-00000-of-00002.parquet`."""

    series: Path
    count: int
    index: int


def select_files(field: str, where: str) -> Selection:
    """A file, a folder's `*.parquet`, or the files that match a pattern such as `data/train-*.parquet`.

    Raises DataError where there is none.
    """
    path = Path(where).expanduser().absolute()
    root = _root(path)
    if path == root:
        files = [each for each in path.glob("*.parquet") if not each.name.startswith("_")]
    else:
        files = [path] if path.is_file() else _matches(field, root, str(path.relative_to(root)))
    files = [each for each in files if each.is_file() and (each == path or not each.name.startswith("."))]
    if not files:
        raise DataError(
            f"dataset.{field}: must be a Parquet file, a folder with *.parquet files or a pattern that matches some, "
            f"got {path}{_nested(path)}"
        )
    return Selection(field, path, tuple(sorted(files)))


def _matches(field: str, root: Path, pattern: str) -> list[Path]:
    try:
        return list(root.glob(pattern))
    except ValueError as error:  # what `**` may stand beside
        raise DataError(f"dataset.{field}: {root / pattern}: {error}") from error


def check_selections(train: Selection, test: Selection | None) -> tuple[str, ...]:
    """Notes on the files that were selected, a line each.

    Raises DataError, naming files, where a selection holds several splits or not all shards, or a file is there twice.
    """
    selections = [train] if test is None else [train, test]
    notes = tuple(note for selection in selections for note in _notes(selection))
    _check_distinct(selections)
    return notes


def _notes(selection: Selection) -> Iterator[str]:
    split = _check_one_split(selection)
    yield from _check_shards(selection)
    yield from _gaps(selection)
    if (selection.field == "train") == (split in ("test", "validation")) and split in _SPLITS:
        yield f"{selection.field}: is read from files of the split {split}, for example {selection.files[0]}"
    unnamed = [file for file in selection.files if split in _SPLITS and _split(file, selection.where) is None]
    if unnamed:
        yield f"{selection.field}: {unnamed[0].name} is read with the files of the split {split}, by name of no split"
    skipped = _skipped(selection.where, set(selection.files)) if selection.where.is_dir() else []
    if skipped:
        yield (
            f"{selection.field}: not read, since only *.parquet right in {selection.where} is: "
            f"{len(skipped):,} more, for example {skipped[0]}"
        )


def _check_one_split(selection: Selection) -> str | None:
    """The one split that the files' names tell of, or None. Raises DataError where they tell of several."""
    examples: dict[str, Path] = {}
    for file in selection.files:
        split = _split(file, selection.where)
        if split is not None:
            examples.setdefault(split, file)
    if len(examples) > 1 and not examples.keys().isdisjoint(_SPLITS):
        held = ", ".join(f"{split} ({file.relative_to(_root(selection.where))})" for split, file in examples.items())
        requested = examples.get("train" if selection.field == "train" else "test", selection.files[0])
        raise DataError(
            f"dataset.{selection.field}: {selection.where} holds several splits: {held}; "
            f"name the files of one, as in {_pattern(requested)}"
        )
    return next(iter(examples)) if len(examples) == 1 else None


def _split(file: Path, where: Path) -> str | None:
    """The split that a file's name tells of, else that of a folder between it and the selection's root.

    Of numbered files that is whatever stands before the number: the hub lets splits have any name.
    """
    shard = _shard(file)
    names = [file.stem if shard is None else shard.series.name, *reversed(file.relative_to(_root(where)).parts[:-1])]
    split = next(filter(None, map(_split_of_words, names)), None)
    return split or (None if shard is None or shard.series.name == _UNNAMED else shard.series.name)


def _split_of_words(name: str) -> str | None:
    words = re.split("[^a-z]+", name.lower())
    splits = {_SPLIT_OF_WORD[word] for word in words if word in _SPLIT_OF_WORD}
    return splits.pop() if len(splits) == 1 else None


def _shard(file: Path) -> _Shard | None:
    match = _SHARD.fullmatch(file.stem)
    return match and _Shard(file.with_name(match["series"] or _UNNAMED), int(match["count"]), int(match["index"]))


def _check_shards(selection: Selection) -> Iterator[str]:
    """Raise DataError where numbered files of a set are missing; of a file that is named itself, note it."""
    sets: dict[tuple[Path, int], dict[int, Path]] = defaultdict(dict)
    counts: dict[Path, tuple[int, Path]] = {}
    for file in selection.files:
        shard = _shard(file)
        if shard is None:
            continue
        count, other = counts.setdefault(shard.series, (shard.count, file))
        twin = sets[shard.series, shard.count].setdefault(shard.index, file)
        other = twin if twin != file else other
        if twin != file or count != shard.count:
            raise DataError(
                f"dataset.{selection.field}: {other} and {file} are of two exports of one set; name the files of one"
            )
    for (_, count), files in sets.items():
        missing = _missing(set(files), count)
        if missing and selection.is_one_file:
            yield f"{selection.field}: {selection.where} is 1 of {count:,} files; the others are not read"
        elif missing:
            example = next(iter(files.values()))
            raise DataError(
                f"dataset.{selection.field}: {len(files):,} of {count:,} files like {example} are there, "
                f"{_numbers(missing)} missing; fetch what is missing"
            )


def _missing(indices: set[int], count: int) -> list[int]:
    """The numbers that are missing of 0 to count - 1, or of 1 to count where the numbers start at 1."""
    first = 1 if count in indices and 0 not in indices else 0
    return sorted(set(range(first, first + count)) - indices) if count <= 1_000_000 else [count - 1]


def _gaps(selection: Selection) -> Iterator[str]:
    """Notes on numbers that are left out among files such as `0000.parquet`, whose names tell no count."""
    series: dict[Path, dict[int, Path]] = defaultdict(dict)
    for file in selection.files:
        match = re.fullmatch(r"(.*?)(\d+)(\D*)", file.stem, re.DOTALL)
        if match and _shard(file) is None:
            series[file.with_name(f"{match[1]}*{match[3]}")][int(match[2])] = file
    for files in series.values():
        span = max(files) - min(files) + 1
        if len(files) < span < 2 * len(files):
            missing = sorted(set(range(min(files), max(files))) - set(files))
            example = next(iter(files.values()))
            yield f"{selection.field}: among files like {example}, {_numbers(missing)} missing"


def _numbers(missing: list[int]) -> str:
    shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
    return f"number {shown} is" if len(missing) == 1 else f"numbers {shown} are"


def _check_distinct(selections: list[Selection]) -> None:
    """Raise DataError where a file is there twice: by path, by a link or as a copy."""
    seen: dict[tuple[int, int], tuple[str, Path]] = {}
    alike: dict[int, list[tuple[str, Path]]] = defaultdict(list)
    for selection in selections:
        for file in selection.files:
            with parquet_errors(file):
                status = file.stat()
            first = seen.setdefault((status.st_dev, status.st_ino), (selection.field, file))
            if first != (selection.field, file):
                raise _twice(first, (selection.field, file), "one file")
            alike[status.st_size].append((selection.field, file))
    for candidates in alike.values():
        digests: dict[bytes, tuple[str, Path]] = {}
        for field, file in candidates if len(candidates) > 1 else []:
            first = digests.setdefault(_digest(file), (field, file))
            if first != (field, file) and open_parquet(file).rows:
                raise _twice(first, (field, file), "equal files")


def _twice(first: tuple[str, Path], second: tuple[str, Path], what: str) -> DataError:
    fields = f"dataset.{first[0]}" if first[0] == second[0] else f"dataset.{first[0]} and dataset.{second[0]}"
    if first[1] == second[1]:
        return DataError(f"{fields}: both name {first[1]}")
    return DataError(f"{fields}: {first[1]} and {second[1]} are {what}: its rows would be there twice")


def _digest(file: Path) -> bytes:
    digest = hashlib.blake2b()
    with parquet_errors(file), file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.digest()


def _root(where: Path) -> Path:
    """The longest folder that a file's, folder's or pattern's path begins with."""
    root = Path(where.anchor)
    for part in where.parts[1:]:
        if not (root / part).is_dir():
            break
        root /= part
    return root


def _pattern(file: Path) -> Path:
    shard = _shard(file)
    return file if shard is None else file.with_name(f"{shard.series.name}-*.parquet")


def _skipped(folder: Path, read: set[Path]) -> list[Path]:
    """What looks like Parquet files in a folder, and is not read: of other names, or a folder further down."""
    names = ("*.[Pp][Aa][Rr][Qq]*", "*.pq", "*.arrow", "*/*.parquet")
    data_files = {path for name in names for path in folder.glob(name) if not path.name.startswith(".")}
    return sorted(each for each in data_files - read if each.is_file())


def _nested(folder: Path) -> str:
    inner = sorted({file.parent for file in folder.glob("*/*.parquet")}) if folder.is_dir() else []
    return f" (but {inner[0]} has some)" if inner else ""
