"""Presets: commented campaign files, one YAML file each."""

from importlib.resources import files

NAMES = (
    *("digits", "mnist-cscore", "mnist-influence", "mnist-forgetting", "mnist-localization"),
    *("cifar10-fast", "cifar10-resnet9", "cifar10-forgetting", "cifar10-localization"),
    *("cifar100-resnet9", "cifar100-influence", "imagenet-influence", "svhn-filtering", "svhn-localization"),
)


def preset_text(name: str) -> str:
    """The YAML text of a preset. Raises KeyError where there is none of that name."""
    if name not in NAMES:
        raise KeyError(name)
    return (files(__package__) / f"{name}.yaml").read_text(encoding="utf-8")
