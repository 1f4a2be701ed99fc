"""Command that trains a run again: replay."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import DeviceOption, StoreArgument, TrustCodeOption
from orchestrator.cli.output import errors, say, warn


def replay(
    store: StoreArgument,
    run: Annotated[str, typer.Argument(metavar="RUN", help="RATIO/REPETITION such as 0.7/12, or a run_id.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File for the model's weights: .safetensors."),
    ] = None,
    device: DeviceOption = None,
    accept_differences: Annotated[
        bool, typer.Option("--accept-differences", help="Accept the model even if recorded bits differ.")
    ] = False,
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
    for difference in replayed.differences:
        warn(f"note: differs from the store's record: {difference}")
    if not replayed.differences:
        say(f"run {replayed.run.run_id}: all recorded bits reproduced")
    say(f"the predictions of the single model agree with the stored ones on {replayed.agreement:.2%} of all examples")
    if output is not None:
        sha256 = write_weights(opened, replayed, output)
        say(f"weights: {output} (SHA-256 of the tensors {sha256})")
