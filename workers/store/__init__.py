"""The store of a campaign: Parquet files, committed whole or not at all."""

from workers.store.example_schema import examples_table
from workers.store.header import Header
from workers.store.json_documents import Failure
from workers.store.schema import EpochRecord, RunResult
from workers.store.store import Store

__all__ = ["EpochRecord", "Failure", "Header", "RunResult", "Store", "examples_table"]
