"""A store as data frames: what was trained, and every estimate of it."""

from analysis.view.store_view import StoreView, open_store

__all__ = ["StoreView", "open_store"]
