"""Localization: what probes measured of each run, and its means over runs (Maini et al. 2023)."""
