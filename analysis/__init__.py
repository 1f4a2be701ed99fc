"""Estimates from a store."""
