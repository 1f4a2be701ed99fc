"""The bins of histograms of scores, the same wherever they are drawn."""

MEM_BINS = 18
"""Of equal width from -1 to 1, as in Feldman & Zhang (NeurIPS 2020)."""
CSCORE_BINS = 20
"""Of equal width from 0 to 1."""
