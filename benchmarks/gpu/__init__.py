"""Everything that is to be measured on a GPU, in one command: see `benchmarks/gpu/__main__.py`."""
