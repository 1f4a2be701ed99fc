"""What a store holds of what was asked for; works while other processes train."""

from collections import Counter
from dataclasses import dataclass

from workers.campaign import PARTS
from workers.store import Failure, Store


@dataclass(frozen=True)
class RatioStatus:
    """Runs of one ratio: wanted, committed (of those wanted or more), and diverged among the committed."""

    ratio: float
    wanted: int
    committed: int
    diverged: int


@dataclass(frozen=True)
class CampaignStatus:
    """A store at one moment."""

    store_uri: str
    dataset: str
    num_train: int
    num_test: int
    identity: str
    ratios: tuple[RatioStatus, ...]
    failures: tuple[Failure, ...]
    test_accuracy: float | None
    """Mean over the completed runs' final epochs; None where there is no run or no test example."""

    @property
    def wanted(self) -> int:
        """Runs asked for."""
        return sum(ratio.wanted for ratio in self.ratios)

    @property
    def committed(self) -> int:
        """Runs in the store, of those asked for."""
        return sum(min(ratio.committed, ratio.wanted) for ratio in self.ratios)


def campaign_status(uri: str) -> CampaignStatus:
    """Count a store's runs. Raises StoreError where there is no store, DamagedFileError where a file is damaged."""
    store = Store.open(uri)
    committed: Counter[int] = Counter()
    diverged: Counter[int] = Counter()
    accuracies: list[float] = []
    for shard, table in store.scan(["is_final", "status", "test_accuracy"]):
        for row in table.to_pylist():
            if row["is_final"]:
                committed[shard.parts] += 1
                diverged[shard.parts] += row["status"] == "diverged"
                if row["status"] == "completed" and row["test_accuracy"] is not None:
                    accuracies.append(row["test_accuracy"])
    targets = store.targets()
    return CampaignStatus(
        store_uri=store.uri,
        dataset=store.header.dataset,
        num_train=store.header.num_train,
        num_test=store.header.num_test,
        identity=store.header.identity,
        ratios=tuple(
            RatioStatus(parts / PARTS, targets.get(parts, 0), committed[parts], diverged[parts])
            for parts in sorted({*targets, *committed})
        ),
        failures=tuple(store.failures()),
        test_accuracy=sum(accuracies) / len(accuracies) if accuracies else None,
    )
