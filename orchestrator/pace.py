"""How fast runs are trained, in words."""

from datetime import timedelta


def pace_text(rate: float, runs: int) -> str:
    """Runs per second (above 0), and the time that so many runs take."""
    left = timedelta(seconds=round(runs / rate))
    return f"{rate:.2f} runs/s, {left} left" if rate >= 0.1 else f"{rate * 60:.2f} runs/min, {left} left"
