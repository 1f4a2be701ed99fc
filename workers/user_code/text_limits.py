"""Truncates texts from user code and files."""


def shortened(text: str, most: int) -> str:
    """The text, or where it has more than about `most` characters its head and its tail, and how many lie between."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} [... {len(text) - 2 * half:,} characters left out ...] {text[-half:]}"
