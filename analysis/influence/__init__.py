"""Influence of training examples on test examples: pair counts, selections, tests."""
