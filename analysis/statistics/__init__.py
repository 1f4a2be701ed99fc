"""Statistics of arrays: means, moments, confidence intervals, detection."""
