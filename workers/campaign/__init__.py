"""Campaigns: the fields of a campaign file, how it is read, and its identity."""
