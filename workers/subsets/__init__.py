"""Subsets: which examples each run trains on."""
