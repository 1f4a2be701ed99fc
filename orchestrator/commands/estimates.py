"""Stores into estimates: estimate."""

from typing import Annotated

import typer

from orchestrator.options import StoreArgument
from orchestrator.output import say, warn


def estimate(
    store: StoreArgument,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="Influential examples kept per test example.")] = 5,
    threshold: Annotated[float, typer.Option(min=-1, max=1, help="Keep all pairs of at least this influence.")] = 0.15,
    max_pairs: Annotated[
        int, typer.Option(min=1, max=100_000_000, help="Leave a ratio's pairs out where more reach the threshold.")
    ] = 1_000_000,
) -> None:
    """Write every estimate that the recorded runs allow, as Parquet tables. Works on an unfinished campaign.

    Example: longtail estimate STORE
    """
    from analysis import write_estimates
    from workers.store import Store

    written = write_estimates(Store.open(store), progress=warn, top=top, threshold=threshold, max_pairs=max_pairs)
    for name, path in written.items():
        say(f"{name}: {path}")
    if not written:
        say("nothing to estimate: at ratio 1 no example is held out")
