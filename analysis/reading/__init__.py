"""A store's rows as what estimates rest on: counts, bits, epochs in sequence, each in one pass."""
