"""Estimators of single examples: memorization, consistency, removal curves, and their standard errors."""
