"""Learning dynamics: forgetting and training statistics of examples."""
