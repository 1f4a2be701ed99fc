"""What a report shows of a store: its findings, and figures of them as SVG."""

from analysis.report.findings import Findings, find

__all__ = ["Findings", "find"]
