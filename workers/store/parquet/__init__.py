"""Parquet files: written with page checksums, validated before they are decoded."""
