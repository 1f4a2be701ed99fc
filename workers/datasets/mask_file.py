"""Reads the masks of `subsets.masks`."""

from collections.abc import Iterator

from workers.campaign.mask_table import MAX_MASKS, MaskTable
from workers.common.arrays import Bools
from workers.datasets.example_table import read_content
from workers.datasets.matrix_file import MatrixFile, truths
from workers.errors import CampaignError, DamagedDataError, DataError
from workers.subsets.masks import MAX_VALUES, SubsetMasks, pack_masks

FIELD = "subsets.masks"


def read_masks(source: MaskTable, num_train: int) -> SubsetMasks:
    """The masks in a file, of `num_train` examples each.

    Raises CampaignError, in one line that names the file, where they are not truth values (or 0 and 1), where one is
    empty or twice there, and where they are not those that `sha256` asks for; StoreError where the place cannot be
    reached.
    """
    content = read_content(source.file, FIELD)

    def mistake(field: str, text: str) -> CampaignError:
        return CampaignError(f"{FIELD}.{field}: {source.file}: {text}")

    try:
        file = MatrixFile(content, source.file)
        rows = file.rows(source.column)
        if not 0 < rows <= MAX_MASKS or rows * num_train > MAX_VALUES:
            limit = min(MAX_MASKS, MAX_VALUES // num_train)
            raise ValueError(f"must have 1 to {limit:,} masks of {num_train:,} examples, got {rows:,}")
        masks = pack_masks(_blocks(file, source.column, num_train))
    except DamagedDataError as error:
        raise CampaignError(f"{FIELD}.file: {error}") from error
    except DataError as error:
        raise CampaignError(f"{FIELD}.column: {error}") from error
    except ValueError as error:
        raise mistake("file", str(error)) from error
    if source.sha256 not in (None, masks.sha256()):
        raise mistake("sha256", f"has other masks, SHA-256 {masks.sha256()}, than {source.sha256}")
    return masks


def _blocks(file: MatrixFile, column: str, num_train: int) -> Iterator[Bools]:
    return (truths(block, f"{file.place}: {column}") for block in file.blocks(column, num_train))
