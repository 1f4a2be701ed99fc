"""Parquet files: written with checksums, and read without trusting them."""
