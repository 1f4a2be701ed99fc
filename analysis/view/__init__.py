"""A store as data frames: runs, examples, and every estimate."""

from analysis.view.store_view import StoreView, open_store

__all__ = ["StoreView", "open_store"]
