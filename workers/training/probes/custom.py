"""Custom probes: `package.module:Class` in `record.probes.custom`."""

from workers.campaign.probes import CustomProbe
from workers.errors import CampaignError
from workers.store.probe_columns import PROBE_PREFIX, ProbeColumn
from workers.training.probes.base import Probe, ProbeShape
from workers.user_code.boundary import user_code
from workers.user_code.loading import call_function

BUILT_IN = ("gradients", "rewinding", "retraining", "neurons", "dropout")
"""Longtail's own probes, by which the analysis finds their columns."""

_METHODS = ("columns", "units", "measure")


def custom_probe(spec: CustomProbe) -> Probe:
    """The probe that the named class makes of its options.

    Raises CampaignError where it is not the user's own, or not a `Probe`; what it raises itself passes through.
    """
    with user_code(spec.name):
        probe = call_function(spec.name, CampaignError, **spec.options)
    missing = [name for name in _METHODS if not callable(getattr(probe, name, None))]
    missing += [] if hasattr(probe, "kept_epochs") else ["kept_epochs"]
    if missing:
        raise CampaignError(
            f"{spec.name}: must be a probe with {', '.join((*_METHODS, 'kept_epochs'))}, "
            f"got {type(probe).__name__} without {', '.join(missing)}"
        )
    return probe  # type: ignore[no-any-return]


def check_columns(name: str, probe: Probe, shape: ProbeShape) -> None:
    """Raise CampaignError where a probe's declarations cannot be used; `name` opens the text."""
    with user_code(name):
        columns, units, kept_epochs = probe.columns(shape), probe.units(shape), probe.kept_epochs
    for column in columns:
        if not isinstance(column, ProbeColumn):
            raise CampaignError(f"{name}: columns must return ProbeColumn, got {type(column).__name__}")
        if column.name.removeprefix(PROBE_PREFIX).partition("_")[0] in BUILT_IN:
            names = ", ".join(f"{PROBE_PREFIX}{each}" for each in BUILT_IN)
            raise CampaignError(f"{name}: columns must not begin with {names} (Longtail's own), got {column.name}")
    if not all(isinstance(epoch, int) and epoch >= 0 for epoch in kept_epochs):
        raise CampaignError(f"{name}: kept_epochs must be numbers from 0 on, got {list(kept_epochs)}")
    if not isinstance(units, int) or isinstance(units, bool) or not 0 <= units <= 100_000:
        raise CampaignError(f"{name}: units must return a number from 0 to 100,000, got {units!r}")
