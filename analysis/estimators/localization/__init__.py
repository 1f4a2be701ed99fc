"""Localization: measurements of probes by run, and their means over runs (Maini et al. 2023)."""
