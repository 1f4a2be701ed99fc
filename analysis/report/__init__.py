"""Contents of a report: findings, and figures as SVG."""

from analysis.report.findings import Findings, find

__all__ = ["Findings", "find"]
