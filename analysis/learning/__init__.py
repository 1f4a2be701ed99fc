"""How examples are learned and forgotten while models train."""
