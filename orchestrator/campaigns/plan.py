"""`longtail plan`: what a campaign would train, its time, and the precision of its estimates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from analysis import (
    RatioCounts,
    count_runs,
    feldman_zhang_bound,
    largest_unit_variance,
    runs_needed,
    se_of_runs,
)
from analysis.estimators.pilots import PlannedVariance, planned_variance
from orchestrator.campaigns.execution_plan import ExecutionPlan, plan_execution
from orchestrator.campaigns.memory_check import check_stack_fits, needs_in, needs_of_one_model
from orchestrator.campaigns.pending import pending_shards
from orchestrator.campaigns.preflight import (
    ModelFacts,
    campaign_notes,
    check_campaign_fits,
    make_header,
    resolve_tables,
)
from orchestrator.campaigns.run_work import forward_passes
from workers.campaign.campaign import PPM, Campaign
from workers.campaign.keys import Shard
from workers.datasets import Dataset, check_files, load_dataset
from workers.store import Store
from workers.store.header import Header, bytes_per_row, probe_bytes
from workers.subsets.draw import subset_size
from workers.training import Precision
from workers.training.hardware import Machine
from workers.training.memory_needs import MemoryNeeds
from workers.training.stack_choice import StackChoice

_FILE_BYTES = 5_500
"""What a results file takes beside its vectors: schema, keys, statistics."""


@dataclass(frozen=True)
class RatioPlan:
    """Runs of one ratio, and planned standard errors of mem: those they will give; None where they are undefined:
    at ratio 1, where less than one run with an example (or one without) is expected, without a pilot, and where
    subsets are not random or shared by several runs.
    """

    ratio: float
    share: float
    """m / N, in (0, 1]."""
    subset_size: int
    runs: int
    committed: int
    pilot: PlannedVariance | None
    """Estimated from the committed runs."""
    independent: bool = True
    """Whether each run has a random subset of its own."""

    @property
    def largest_se(self) -> float | None:
        """Worst case: of an example that is predicted correctly half of the time."""
        return se_of_runs(largest_unit_variance(self.share), self.share, self.runs) if self._has_mem else None

    @property
    def bound(self) -> float | None:
        """Feldman & Zhang's, on the root of the mean squared error of any example; None also where it is 1 or more."""
        return feldman_zhang_bound(self.share, self.runs) if self._has_mem else None

    @property
    def median_se(self) -> float | None:
        """Of the median example, based on the pilot."""
        return se_of_runs(self.pilot.median, self.share, self.runs) if self.pilot else None

    @property
    def p90_se(self) -> float | None:
        """90th percentile over the examples, based on the pilot."""
        return se_of_runs(self.pilot.p90, self.share, self.runs) if self.pilot else None

    def runs_for_all(self, target: float) -> int | None:
        """Runs at which the largest standard error is at most `target`."""
        return runs_needed(largest_unit_variance(self.share), self.share, target) if self._has_mem else None

    def runs_for_p90(self, target: float) -> int | None:
        """Runs at which the 90th percentile is at most `target`, based on the pilot."""
        return runs_needed(self.pilot.p90, self.share, target) if self.pilot else None

    def range_for_p90(self, target: float) -> tuple[int, int] | None:
        """Uncertainty of `runs_for_p90`: (lowest, highest) number of runs."""
        if self.pilot is None:
            return None
        limits = (runs_needed(each, self.share, target) for each in (self.pilot.p90_low, self.pilot.p90_high))
        low, high = limits
        return low, high

    @property
    def _has_mem(self) -> bool:
        return self.independent and self.share < 1


@dataclass(frozen=True)
class Plan:
    """What a campaign would train, and the disk space of its results."""

    campaign: Campaign
    """With the ratios of thresholds."""
    ratios: tuple[RatioPlan, ...]
    execution_plan: ExecutionPlan
    pending: Sequence[Shard]
    store_bytes: int
    memory: MemoryNeeds
    """Of one model in training."""
    data_bytes: int
    """Of the images, as stored."""
    operations: float
    """Floating-point operations of the pending shards."""
    notes: Sequence[str] = ()
    """Settings that may be unintended."""

    @property
    def pending_runs(self) -> int:
        """Runs that are not committed yet."""
        return sum(ratio.runs - ratio.committed for ratio in self.ratios)


def plan_campaign(
    campaign: Campaign,
    machine: Machine,
    store_uri: str | None = None,
    fastest: Callable[[Campaign, Sequence[int], Precision], StackChoice] | None = None,
    on_data: Callable[[Dataset], None] = lambda dataset: None,
) -> Plan:
    """Plan a campaign, less what a store holds already (none: nothing, and a store that does not exist is empty).

    The execution plan of a new store is for workers like `machine`, `fastest` as in `plan_execution`. A store's runs
    are the pilot. `on_data` gets the data set as soon as it is read. Nothing is downloaded.

    Raises CampaignError, DataError, ModelError; StoreMismatchError where the store is another campaign's,
    DamagedFileError where it cannot be read.
    """
    check_files(campaign.dataset)
    dataset = load_dataset(campaign.dataset)
    on_data(dataset)
    campaign, _ = resolve_tables(campaign, dataset)
    facts = check_campaign_fits(campaign, dataset)
    header = make_header(campaign, dataset)
    store = Store.open(store_uri) if store_uri is not None and Store.exists(store_uri) else None
    committed, counts = _committed(campaign, header, store)
    execution, needs = _execution(campaign, dataset, facts, machine, fastest, store)
    pending = pending_shards(campaign, committed, execution.shard_size)
    ratios = [
        _ratio_plan(campaign, ratio_ppm, dataset.num_train, pending, counts)
        for ratio_ppm in campaign.subsets.ratios_ppm
    ]
    runs = campaign.subsets.repetitions * len(ratios)
    slots = campaign.presentation_slots()
    row_bytes = bytes_per_row(campaign.record, slots, dataset.num_train, dataset.num_test)
    probed = min(campaign.record.probes.repetitions, campaign.subsets.repetitions) if campaign.record.probes else 0
    return Plan(
        campaign=campaign,
        ratios=tuple(ratios),
        execution_plan=execution,
        pending=pending,
        memory=needs,
        data_bytes=dataset.train_images.nbytes + dataset.test_images.nbytes,
        operations=facts.forward_operations
        * sum((shard.stop - shard.start) * forward_passes(campaign, shard.ratio_ppm, header) for shard in pending),
        store_bytes=runs * len(campaign.recorded_epochs()) * row_bytes
        + len(ratios) * probed * probe_bytes(header.probe_columns)
        + -(-runs // execution.shard_size) * _FILE_BYTES,
        notes=[
            *campaign_notes(campaign, dataset.num_train),
            *facts.notes,
            *([execution.note] if execution.note else []),
        ],
    )


def _execution(
    campaign: Campaign,
    dataset: Dataset,
    facts: ModelFacts,
    machine: Machine,
    fastest: Callable[[Campaign, Sequence[int], Precision], StackChoice] | None,
    store: Store | None,
) -> tuple[ExecutionPlan, MemoryNeeds]:
    """How a store's runs are trained, or would be those of a new one; and the memory of one model."""
    if store is not None:
        header = store.header
        execution = ExecutionPlan(header.shard_size, header.stack_size, header.precision, program=header.program)
        return execution, needs_in(campaign, dataset, facts, execution.precision)
    needs = needs_of_one_model(campaign, dataset, facts, machine)
    execution = plan_execution(campaign, dataset, facts, machine, fastest=fastest)
    check_stack_fits(execution, needs, machine, requested=False)
    return execution, needs


def _committed(
    campaign: Campaign, header: Header, store: Store | None
) -> tuple[Sequence[Shard], Mapping[int, RatioCounts]]:
    """A store's shards, and where runs are independent the counts of its ratios. Raises StoreMismatchError."""
    if store is None:
        return [], {}
    store.header.check_same(header, store.uri)
    committed = store.shards()
    if not committed or not campaign.subsets.independent:
        return committed, {}
    return committed, {ratio.ratio_ppm: ratio for ratio in count_runs(store).ratios}


def _ratio_plan(
    campaign: Campaign, ratio_ppm: int, num_train: int, pending: Sequence[Shard], counts: Mapping[int, RatioCounts]
) -> RatioPlan:
    left = sum(shard.stop - shard.start for shard in pending if shard.ratio_ppm == ratio_ppm)
    runs, size = campaign.subsets.repetitions, subset_size(ratio_ppm, num_train)
    pilot = planned_variance(counts[ratio_ppm]) if ratio_ppm in counts and size < num_train else None
    independent = campaign.subsets.independent
    return RatioPlan(ratio_ppm / PPM, size / num_train, size, runs, runs - left, pilot, independent)
