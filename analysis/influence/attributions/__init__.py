"""Attributions, anybody's, scored on the runs of a store."""
