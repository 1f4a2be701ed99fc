"""Extras of Longtail: packages that only training or only Ray needs, and what installs one that is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from workers.errors import MissingPackageError

EXTRAS = {
    "train": ("torch", "torchvision", "safetensors", "tensorboardX"),
    "ray": ("ray", "aiohttp", "grpc", "requests"),
}
"""Names under which packages of each extra of pyproject.toml are imported."""


@contextmanager
def missing_extras_explained() -> Iterator[None]:
    """Raise MissingPackageError in place of the ImportError of a package that an extra installs.

    What a package that is installed raises itself passes through.
    """
    try:
        yield
    except MissingPackageError:
        raise
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        for extra, packages in EXTRAS.items():
            if package in packages and not is_installed(package):
                raise MissingPackageError(
                    f"{package} is needed for this, and is not installed: {installation(extra)}", name=package
                ) from error
        raise


def installation(extra: str) -> str:
    """The command that installs an extra."""
    return f'pip install "longtail[{extra}]"'


def is_installed(package: str) -> bool:
    """Whether a package can be imported.

    A folder of the same name on the path is none: it is imported as a namespace package, which has no file.
    """
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None
