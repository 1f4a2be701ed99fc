"""Commands that train a run again: replay, features."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import DeviceOption, StoreArgument, TrustCodeOption
from orchestrator.cli.output import errors, say, warn
from workers.campaign.plural import count_text

_RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="RATIO/REPETITION such as 0.7/12, or a run_id.")]
_AcceptOption = Annotated[
    bool, typer.Option("--accept-differences", help="Accept the model even if recorded bits differ.")
]


def replay(
    store: StoreArgument,
    run: _RunArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File for the model's weights: .safetensors."),
    ] = None,
    device: DeviceOption = None,
    accept_differences: _AcceptOption = False,
    trust_code: TrustCodeOption = False,
) -> None:
    """Train a run again, verify its recorded bits, and save its model.

    Example: longtail replay STORE 0.7/12 -o model.safetensors
    """
    from orchestrator.cli.progress import reading_display
    from orchestrator.store_ops.replay import replay as replay_run
    from orchestrator.store_ops.replay import write_weights
    from workers.common.whole_file import check_place
    from workers.store import Store

    if output is not None:
        if output.suffix != ".safetensors":
            raise typer.BadParameter(f"--output must end with .safetensors, got {str(output)!r}")
        check_place(output)
    opened = Store.open(store)
    with reading_display(errors, opened) as show:
        replayed = replay_run(
            opened,
            run,
            device=device,
            accept_differences=accept_differences,
            trust_code=trust_code,
            on_epoch=partial(show, "epochs trained"),
        )
    _tell_differences(replayed.run.run_id, replayed.differences)
    say(f"the predictions of the single model agree with the stored ones on {replayed.agreement:.2%} of all examples")
    if output is not None:
        sha256 = write_weights(opened, replayed, output)
        say(f"weights: {output} (SHA-256 of the tensors {sha256})")


def features(
    store: StoreArgument,
    run: _RunArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="File for the features of all examples: .npz.")
    ],
    device: DeviceOption = None,
    accept_differences: _AcceptOption = False,
    trust_code: TrustCodeOption = False,
) -> None:
    """Train a run again, verify its recorded bits, and save its penultimate-layer features of every example.

    Example: longtail features STORE 1.0/0 -o features.npz
    """
    from orchestrator.cli.progress import reading_display
    from orchestrator.store_ops.features import features as run_features
    from workers.common.whole_file import check_place
    from workers.datasets.feature_file import write_features
    from workers.store import Store

    if output.suffix != ".npz":
        raise typer.BadParameter(f"--output must end with .npz, got {str(output)!r}")
    check_place(output)
    opened = Store.open(store)
    with reading_display(errors, opened) as show:
        computed = run_features(
            opened,
            run,
            device=device,
            accept_differences=accept_differences,
            trust_code=trust_code,
            on_epoch=partial(show, "epochs trained"),
        )
    write_features(computed, output)
    _tell_differences(computed.encoder.run, computed.differences)
    (count, width), tests = computed.train_features.shape, len(computed.test_features)
    seen = int(computed.seen_by_encoder.sum())
    say(f"features: {output} ({width:,} of each of {count:,} training and {count_text(tests, 'test example')})")
    say(f"the run was trained on {seen:,} of the {count:,} training examples")
    say(f"next: a campaign with dataset: {{name: features, file: {output}}} and model: {{name: mlp, hidden: []}}")


def _tell_differences(run_id: str, differences: Sequence[str]) -> None:
    for difference in differences:
        warn(f"note: differs from the store's record: {difference}")
    if not differences:
        say(f"run {run_id}: all recorded bits reproduced")
