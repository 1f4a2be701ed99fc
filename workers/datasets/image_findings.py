"""Counts what decoding changed in images, for the notes of a data set."""

from dataclasses import dataclass, field

from workers.campaign.dataset_spec import ImageOptions
from workers.campaign.plural import count_text

ORIENTATION = "orientation"
TRANSPARENT = "transparent"
FRAMES = "frames"
CMYK = "CMYK"
WIDE_COLOUR = "16-bit colour"
STRETCHED = "stretched"

_NEARLY_BLACK = 65_536 // 4


@dataclass
class ImageFinding:
    """What was found in one image."""

    kinds: set[str] = field(default_factory=set)
    grey_range: tuple[int, int] | None = None
    """Least and greatest value of a grey image of more than 8 bits, white being 65,535."""


class FindingCounts:
    """The findings of many images: how many of each kind, and the first image of each."""

    def __init__(self) -> None:
        self.counts: dict[str, tuple[int, str]] = {}
        self.grey: tuple[int, int, int, str] | None = None
        """Number of images, least and greatest value, and the first image."""

    def add(self, where: str, finding: ImageFinding) -> None:
        """Count one image's findings."""
        for kind in finding.kinds:
            count, first = self.counts.get(kind, (0, where))
            self.counts[kind] = (count + 1, first)
        if finding.grey_range is not None:
            low, high = finding.grey_range
            number, least, greatest, first = self.grey or (0, low, high, where)
            self.grey = (number + 1, min(least, low), max(greatest, high), first)

    def notes(self, options: ImageOptions) -> tuple[str, ...]:
        """A line for each kind, with the number of images and an example."""
        texts = {
            ORIENTATION: "with an EXIF orientation, which is ignored (dataset.orientation: exif applies it)",
            TRANSPARENT: "with transparency, laid on white",
            FRAMES: "with several frames, of which the first is taken",
            CMYK: "in CMYK, converted to RGB without a colour profile",
            WIDE_COLOUR: "in colour of 16 bits, of which the upper 8 are taken",
            STRETCHED: f"not square, stretched to {options.size} x {options.size} pixels",
        }
        lines = []
        for kind, text in texts.items():
            if kind in self.counts:
                count, first = self.counts[kind]
                lines.append(f"{_images(count)} {text}; for example {first}")
        if self.grey is not None:
            count, least, greatest, first = self.grey
            dark = "" if greatest >= _NEARLY_BLACK else ", so they are nearly black: scale the values in the files"
            lines.append(
                f"{_images(count)} in grey of more than 8 bits: values {least:,} to {greatest:,} were found, and "
                f"65,535 becomes white{dark}; for example {first}"
            )
        return tuple(lines)


def _images(count: int) -> str:
    return count_text(count, "image")
