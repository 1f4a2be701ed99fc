"""Replications of the papers' figures and tables: `python -m benchmarks.replicate --list`."""
