"""Numbers of things in words: `1 run`, `3,000 runs`."""


def count_text(number: int, noun: str, plural: str | None = None) -> str:
    """The number and its noun, which takes an s of more than one unless its plural is given.

    A phrase is counted by its last word: `count_text(2, "test example")` is `2 test examples`.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def range_text(low: int, high: int, noun: str) -> str:
    """`8 to 12 runs`; of equal limits `1 run`."""
    return count_text(high, noun) if low == high else f"{low:,} to {count_text(high, noun)}"
