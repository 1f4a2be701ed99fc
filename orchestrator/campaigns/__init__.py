"""Campaigns from start to end: checked, planned, run, and measured while they run."""
