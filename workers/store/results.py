"""`results/`: lists, opens and scans committed shards, also during commits and compaction."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from workers.campaign.keys import Shard, runs_by_ratio
from workers.common.progress import ProgressCallback, no_progress
from workers.errors import DamagedFileError, MissingFileError, StoreError
from workers.store import schema
from workers.store.file_problems import OTHER_CAMPAIGN, damaged_file_error, missing_file_error
from workers.store.files.base import Files
from workers.store.header import Header
from workers.store.parquet.table_file import Layout, TableFile

GROUP_BYTES = 4 << 20
"""Bits of a row group, packed: a reader unpacks one row group at a time, to eight times that and more."""
_MAX_RELISTINGS = 3
"""Listings that may name a file which is not there, before that is an error."""


def results_path(shard: Shard) -> str:
    """Where a shard's results are, relative to the store."""
    return f"results/{shard.shard_id}.parquet"


def shard_of(name: str) -> Shard | None:
    """The shard of a file name in results/; None where it is another file."""
    return Shard.parse(name.removesuffix(".parquet")) if name.endswith(".parquet") else None


class Results:
    """The result files of one store."""

    def __init__(self, files: Files, header: Header) -> None:
        self._files = files
        self._header = header
        probes = header.probe_columns
        self.schema = schema.results_schema(header.record, probes)
        self.widths = schema.Widths(header.num_train, header.num_test, header.presentation_slots, probes)

    @property
    def uri(self) -> str:
        """Where the store is."""
        return self._files.uri

    def names(self) -> list[str]:
        """The file names, without temporary files."""
        return [name for name in self._files.names("results") if not name.startswith(("_", "."))]

    def shards(self) -> list[Shard]:
        """The committed shards, ascending. One listing: the names say which runs they hold."""
        return sorted(filter(None, map(shard_of, self._files.names("results"))))

    def all_shards(self) -> list[Shard]:
        """The committed shards, those included that a compaction merges meanwhile.

        No place lists at one instant. While it lists, a merged file can appear behind the place that it has reached,
        and the files it was made of vanish before it: their runs would be missing. So two listings, one after the
        other, are joined: a merged file that appeared during the first one is in the second. Files are opened one by
        one after that, a listing names a thousand at a time.
        """
        return sorted({*self.shards(), *self.shards()})

    @contextmanager
    def open(self, shard: Shard) -> Iterator[TableFile]:
        """A shard's file; as `open_table`. Another campaign's, or another shard's under this name, is damaged too."""
        runs = shard.stop - shard.start
        widths = {each.name: self.widths.of(each.name) for each in self.schema if pa.types.is_list(each.type)}
        layout = Layout(self.schema, runs * self._header.rows_per_run, min_rows=runs, widths=widths)
        with open_table(self._files, results_path(shard), layout) as file:
            if file.metadata.get("campaign") != self._header.identity:
                raise DamagedFileError(OTHER_CAMPAIGN)
            if file.metadata.get("shard") != shard.shard_id:
                raise DamagedFileError("does not contain the runs in its name")
            yield file

    def scan(
        self, columns: Sequence[str], ratio: int | None, on_read: ProgressCallback = no_progress
    ) -> Iterator[tuple[Shard, pa.Table]]:
        """As `Store.scan`; `on_read` is called with the runs read so far, and the runs there were at the start."""
        names = columns if "repetition" in columns else [*columns, "repetition"]
        ratio_ppm = position = 0
        """Where the scan is: every run before this repetition of this ratio was yielded, or was not there."""
        vanished: Counter[Shard] = Counter()
        left, done = self._all_shards_at(ratio), 0
        total = runs_by_ratio(left).total()
        while left:
            shard = left.popleft()
            if (shard.ratio_ppm, shard.stop) <= (ratio_ppm, position):
                continue
            if shard.ratio_ppm != ratio_ppm:
                ratio_ppm, position = shard.ratio_ppm, 0
            fresh_from, first = position, max(position, shard.start)
            try:
                with self.open(shard) as file:
                    for table in file.groups(names):
                        repetitions = table["repetition"].to_numpy()
                        if shard.start < fresh_from:
                            table = table.filter(repetitions >= fresh_from)
                        if table.num_rows:
                            yield shard, table.select(list(columns))
                            position = max(position, int(repetitions[-1]) + 1)
                            on_read(done + position - first, max(total, done + position - first))
                position = shard.stop
            except MissingFileError:
                # A compaction merged it away after the listing: its runs are in a file that a new listing has.
                vanished[shard] += 1
                if vanished[shard] > _MAX_RELISTINGS:
                    raise
                left = self._all_shards_at(ratio)
            done += max(0, position - first)
            on_read(done, max(total, done))

    def _all_shards_at(self, ratio: int | None) -> deque[Shard]:
        """In the order of a scan: of shards that start together the longest, which makes the others superfluous."""
        shards = [shard for shard in self.all_shards() if ratio is None or shard.ratio_ppm == ratio]
        return deque(sorted(shards, key=lambda shard: (shard.ratio_ppm, shard.start, -shard.stop)))


@contextmanager
def open_table(files: Files, path: str, layout: Layout) -> Iterator[TableFile]:
    """A Parquet file of a store. Raises DamagedFileError, MissingFileError, or StoreError where the place fails.

    Errors from reading it in the `with` block get its path.
    """
    try:
        file = files.open(path)
    except DamagedFileError as error:
        raise damaged_file_error(files, path, error.problem) from error
    if file is None:
        raise missing_file_error(files, path)
    with file:
        try:
            yield TableFile(file, layout)
        except DamagedFileError as error:
            raise damaged_file_error(files, path, error.problem) from error
        except StoreError as error:
            if not exists(files, path):
                raise missing_file_error(files, path) from error
            place = files.location(path)
            raise type(error)(f"{place}: {error.problem.removeprefix(f'{place}: ')}") from error


def exists(files: Files, path: str) -> bool:
    """Whether the file exists."""
    file = files.open(path)
    if file is not None:
        file.close()
    return file is not None
