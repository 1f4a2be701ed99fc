"""`RunOptions`: how and where a campaign is trained. An option is declared here alone: type, default, meaning, limits.

The command line makes its options from these fields, `submit` passes them on to its job, and `run_campaign` and the
runners take the object.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from workers.errors import CampaignError

Device = Literal["cpu", "cuda"]
RunnerName = Literal["auto", "local", "ray"]

CHECKPOINT_MINUTES = 10.0
"""Most runs take less, and then write no checkpoint at all."""

_YEAR_MINUTES = 525_600

SMALLEST_GPU_SHARE = 0.0001
"""Ray counts in ten-thousandths of a GPU."""


@dataclass(frozen=True)
class OptionInfo:
    """The meaning of an option, and its allowed values: from `least` to `most`, for a number.

    `none` is the word for None on the command line, where the default is another value.
    """

    help: str
    least: float = 0
    most: float = 0
    none: str | None = None


def meaning(help: str, **info: Any) -> dict[str, OptionInfo]:
    """The metadata of a field: its `OptionInfo`."""
    return {"option": OptionInfo(help, **info)}


@dataclass(frozen=True)
class ClusterOptions:
    """The Ray cluster, and the workers on it.

    Without `address` it is RAY_ADDRESS's (`auto`: the one that this machine is in), else one that is started on this
    machine. `gpus_per_worker` is by default 1 where the cluster has GPUs, else 0; `workers` is also what an autoscaler
    is asked for. Raises CampaignError for a value that an option cannot have; it names the field.
    """

    address: str | None = field(
        default=None, metadata=meaning("Address of a Ray cluster; default: start one on this machine.")
    )
    gpus_per_worker: float | None = field(
        default=None, metadata=meaning("GPUs per worker; may be a fraction.", most=64)
    )
    workers: int | None = field(
        default=None,
        metadata=meaning(
            "Maximum number of Ray workers, also requested from an autoscaler; default: all slots.",
            least=1,
            most=100_000,
        ),
    )
    working_dir: str | None = field(
        default=None, metadata=meaning("Folder with your own code, copied to the cluster's nodes.")
    )

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            object.__setattr__(self, name, _checked(name, getattr(self, name), hint, option_info(type(self), name)))
        gpus = self.gpus_per_worker or 0
        if (gpus > 1 and gpus != int(gpus)) or 0 < gpus < SMALLEST_GPU_SHARE:
            raise CampaignError(
                "gpus_per_worker: must be a whole number, or a fraction of 1 of at least "
                f"{SMALLEST_GPU_SHARE}, got {gpus:g}"
            )


@dataclass(frozen=True)
class RunOptions(ClusterOptions):
    """How and where a campaign is trained: `run_campaign(campaign, store, RunOptions(runner="ray", workers=4))`.

    Options of the cluster are for `runner` "ray", which they choose where it is left to "auto"; for what that does
    without them see `AutoRunner`. `repetitions` replaces the campaign's. `shard_size` and `stack_size` hold for a new
    store; an existing one keeps its own. With `until_se` a ratio's training ends once the standard error of mem is
    at most that for 90% of the examples. `checkpoint_minutes` is the time between two checkpoints of a shard in
    training, which goes on from there (0: one after every epoch; None: never). `device` "cpu" trains on CPUs also where
    workers hold GPUs.
    """

    runner: RunnerName = field(
        default="auto",
        metadata=meaning(
            "Where to train: in this process (local), with Ray on this machine or a cluster (ray), or on all of this "
            "machine with Ray once the work left is worth its start (auto)."
        ),
    )
    device: Device | None = field(default=None, metadata=meaning("Device to train on; default: a GPU if there is one."))
    repetitions: int | None = field(
        default=None, metadata=meaning("Runs per ratio; default: the campaign's.", least=1, most=1_000_000)
    )
    shard_size: int | None = field(
        default=None, metadata=meaning("Runs per shard; for a new store only.", least=1, most=10_000)
    )
    stack_size: int | None = field(
        default=None,
        metadata=meaning(
            "Models that train as one program; for a new store only. Default: by the model and the device.",
            least=1,
            most=10_000,
        ),
    )
    until_se: float | None = field(
        default=None,
        metadata=meaning(
            "Stop a ratio when 90% of its examples reach this expected standard error of memorization.",
            least=0.0001,
            most=1,
        ),
    )
    checkpoint_minutes: float | None = field(
        default=CHECKPOINT_MINUTES,
        metadata=meaning(
            "Minutes between checkpoints of a shard; 0: after every epoch; or never.", most=_YEAR_MINUTES, none="never"
        ),
    )
    download: bool = field(
        default=False, metadata=meaning("Download a torchvision data set that is missing, into any dataset.root.")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [each.name for each in fields(ClusterOptions) if getattr(self, each.name) is not None]
        if self.runner == "auto" and names:
            object.__setattr__(self, "runner", "ray")
        if self.runner != "ray" and names:
            raise CampaignError(f"{', '.join(names)}: need runner ray (--runner ray), got runner {self.runner}")
        if self.device == "cuda" and self.gpus_per_worker == 0:
            raise CampaignError("gpus_per_worker: must be above 0 to train on device cuda, got 0")

    def command_line(self) -> list[str]:
        """The options of `longtail run` that make this object: those that are not at their defaults."""
        words: list[str] = []
        for each in fields(self):
            value, flag = getattr(self, each.name), option_flag(each.name)
            if value == each.default:
                continue
            if value is None:
                words += [flag, str(option_info(type(self), each.name).none)]
            else:
                words += [flag] if value is True else [flag, str(value)]
        return words


def option_flag(name: str) -> str:
    """The option of a field on the command line."""
    return f"--{name.replace('_', '-')}"


def option_info(kind: type[ClusterOptions], name: str) -> OptionInfo:
    """Meaning and limits of a field."""
    info: OptionInfo = kind.__dataclass_fields__[name].metadata["option"]
    return info


def _checked(name: str, value: Any, hint: Any, info: OptionInfo) -> Any:
    """The value, as the field's type; raises CampaignError where it is none of the field's."""
    kinds = [hint] if get_origin(hint) is Literal else get_args(hint) or [hint]
    if value is None and type(None) in kinds:
        return None
    kind = kinds[0]
    if get_origin(kind) is Literal:
        allowed = f"one of {', '.join(get_args(kind))}"
        fits = value in get_args(kind)
    elif kind in (int, float):
        allowed = f"a {'whole ' if kind is int else ''}number from {info.least} to {info.most}"
        numbers = (int,) if kind is int else (int, float)
        fits = isinstance(value, numbers) and not isinstance(value, bool) and info.least <= value <= info.most
    else:
        allowed = "True or False" if kind is bool else "text"
        fits = isinstance(value, kind)
    if not fits:
        raise CampaignError(f"{name}: must be {allowed}{' or None' if type(None) in kinds else ''}, got {value!r}")
    return float(value) if kind is float else value
