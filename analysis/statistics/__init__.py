"""Means, moments, intervals and detection: of arrays, whatever they stand for."""
