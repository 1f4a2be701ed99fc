"""Probes: measurements of a run's model while it is in memory, recorded as columns of the run's last row."""
