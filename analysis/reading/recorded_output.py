"""Which outputs of models a store has: the column of one, or the reason why there is none."""

from workers.campaign.record import Output
from workers.common.splits import Split
from workers.errors import EstimateError
from workers.store import Store
from workers.store.output_columns import OutputColumn, output_columns


def recorded_output(store: Store, output: Output, split: Split) -> str:
    """The name of the column with an output of a split's examples. Raises EstimateError where it is not recorded."""
    recorded = output_columns(store.header.record)
    column = OutputColumn(output, split)
    if column not in recorded:
        names = ", ".join(each.output for each in recorded if each.split == split) or "none"
        raise EstimateError(
            f"{store.uri}: has no {output!r} of {split} examples: record.outputs must include it "
            f"when a campaign starts; recorded: {names}"
        )
    return column.name
