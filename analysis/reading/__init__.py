"""Reads a store's rows as the inputs of estimates: counts, packed bits, sequences of epochs, each in one pass."""
