"""`longtail report`: a store as one HTML file."""

from orchestrator.report.page import Report, write_report

__all__ = ["Report", "write_report"]
