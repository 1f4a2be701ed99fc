"""Campaigns: checks, plans, execution, and standard errors while they run."""
