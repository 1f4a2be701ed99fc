"""`longtail report`: a store, or two side by side, as one HTML file."""

from orchestrator.report.comparison import write_comparison
from orchestrator.report.page import Report, write_report

__all__ = ["Report", "write_comparison", "write_report"]
