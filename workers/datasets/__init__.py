"""Data sets: every kind becomes one `Dataset`, memory-mapped from a cache that all processes of a node share."""

from workers.datasets.dataset import Dataset
from workers.datasets.loading import check_files, load_dataset

__all__ = ["Dataset", "check_files", "load_dataset"]
