"""Runs one campaign with its faults, from the start of its cluster to the comparison of the store.

    python -m benchmarks.chaos.campaign PLAN RESULT

Runs inside namespaces of its own (see `benchmarks.chaos.isolated`): it mounts, and Ray listens everywhere.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

from benchmarks.chaos import cluster
from benchmarks.chaos.cluster import Cluster, cluster_environment
from benchmarks.chaos.drivers import Driver
from benchmarks.chaos.faults import COMPACTION, LOCAL, REMOTE, Waits
from benchmarks.chaos.findings import compare, digest_store
from benchmarks.chaos.history import History, Injection
from benchmarks.chaos.model import MODEL, TRAINED, read_begun
from benchmarks.chaos.store_locations import Bucket, Disk, StoreLocation
from benchmarks.isolation import kill, longtail
from workers.campaign.campaign import Campaign
from workers.campaign.keys import Run
from workers.campaign.yaml_io import check_campaign, dump_campaign
from workers.errors import StoreError
from workers.store import Store
from workers.subsets.draw import Purpose, integer_seed

NODES = 2
SLOTS = 2
"""CPUs of each node: room for two drivers with two workers each."""
WORKERS = 2

_DRIVER_SECONDS = 120.0
_CAMPAIGN_SECONDS = 480.0


def chaos_campaign(repetitions: int, epochs: int) -> Campaign:
    """Digits, one hidden layer, two ratios: a fraction of a second a run, by the number of epochs."""
    return check_campaign(
        {
            "dataset": {"name": "digits"},
            "model": {"name": f"{MODEL}:noted_mlp", "options": {"hidden": 64}},
            "recipe": {"epochs": epochs, "batch_size": 32},
            "subsets": {"ratios": [0.3, 0.7], "repetitions": repetitions, "seed": 1},
        }
    )


@dataclass(frozen=True)
class Plan:
    """What happens to a campaign: (committed runs, fault's name) ascending; `location` is disk or bucket.

    `reference` is what `digest_store` gave of an undisturbed campaign; None: this is the undisturbed one.
    """

    location: str
    seed: str
    repetitions: int
    epochs: int
    faults: list[tuple[int, str]]
    reference: dict[str, dict[str, str]] | None = None


@dataclass
class Result:
    """What became of it. `problems` must be empty. Seconds are from the first commit to the last."""

    plan: Plan
    seconds: float
    injections: list[Injection]
    digest: dict[str, dict[str, str]]
    polls: int
    problems: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """What drivers said that ended with an error."""


class ChaosCampaign:
    """A campaign at work. Faults use the methods up to `problems`."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.location: StoreLocation = Disk(folder / "disk") if plan.location == "disk" else Bucket()
        self.note = folder / "begun"
        environment = {**cluster_environment(), TRAINED: str(self.note), "LONGTAIL_CACHE": str(folder / "cache")}
        self.environment = environment | self.location.environment
        self.cluster = Cluster(folder / "ray", self.environment, nodes=NODES, cpus=SLOTS)
        self.cluster_address = cluster.ADDRESS
        self.drivers: list[Driver] = []
        self.problems: list[str] = []
        self.ended: list[str] = []
        self.campaign = chaos_campaign(plan.repetitions, plan.epochs)
        self.requested = {
            Run(ratio_ppm, r) for ratio_ppm in self.campaign.subsets.ratios_ppm for r in range(plan.repetitions)
        }
        self.history = History(self.requested)
        self._held = 0
        self._started = 0
        self._active: list[Waits] = []
        self._waiting: dict[int, Callable[[], bool]] = {}

    # For faults -----------------------------------------------------------------------------------------------------

    def workers(self) -> list[int]:
        """The processes of workers, on nodes that are part of the cluster."""
        return [pid for node in self.cluster.nodes for pid in node.workers()]

    def has_workers(self) -> bool:
        """Is there a worker to strike."""
        return bool(self.workers())

    def has_drivers(self) -> bool:
        """Is there a driver to strike."""
        return bool(self.drivers)

    def later(self, runs: int, seconds: float) -> Callable[[], bool]:
        """So many more runs are committed, or all, or none for so long."""
        goal, since = len(self.history.committed) + runs, time.monotonic()
        return lambda: (
            len(self.history.committed) >= min(goal, len(self.requested))
            or time.monotonic() - max(self.history.last_commit, since) > seconds
        )

    def in_seconds(self, seconds: float) -> Callable[[], bool]:
        """So many seconds have passed."""
        end = time.monotonic() + seconds
        return lambda: time.monotonic() > end

    def hold(self) -> None:
        """Start no driver until `release`."""
        self._held += 1

    def release(self) -> None:
        """See `hold`."""
        self._held -= 1

    def drivers_gone(self) -> Callable[[], bool]:
        """Every driver has ended by itself; one that has not after a minute is a problem, and is killed."""
        overdue = self.in_seconds(_DRIVER_SECONDS)

        def gone() -> bool:
            if self.drivers and overdue():
                self._end_drivers(f"had not ended {_DRIVER_SECONDS:.0f} s after the fault")
            return not self.drivers

        return gone

    def start_driver(self) -> None:
        """One more `longtail run`."""
        self._started += 1
        words = [str(self.folder / "campaign.yaml"), "-s", self.location.uri, "--runner", "ray", "--shard-size", "1"]
        words += ["--address", self.cluster_address, "--workers", str(WORKERS)]
        self.drivers.append(Driver(words, self.environment, self.folder / f"driver-{self._started}.log"))

    @property
    def compacted(self) -> bool:
        """Is there a compaction among the faults that struck."""
        return any(injection.name == COMPACTION for injection in self.history.injections)

    # The whole ------------------------------------------------------------------------------------------------------

    def run(self) -> Result:
        """Start everything, let it fail, wait until all is done, and compare."""
        (self.folder / "campaign.yaml").write_text(dump_campaign(self.campaign))
        (self.folder / "ray").mkdir()
        subprocess.run(
            ["ray", "get-auth-token", "--generate"], env=self.environment, check=True, capture_output=True, umask=0o077
        )
        report = self.folder / "reader.json"
        reader = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.chaos.reader", self.location.uri, str(report)],
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        try:
            self.cluster.start()
            self._work()
            reader.send_signal(signal.SIGTERM)
            reader.wait(60)
        finally:
            reader.kill()
            self._end_drivers("had not ended")
            self.cluster.close()
        self.location.repair()
        seen = json.loads(report.read_text())
        self.problems += [f"reader: {problem}" for problem in (*seen["errors"], *seen["fewer"])]
        if seen["twice"] and not self.compacted:
            self.problems.append(f"reader: pandas found {seen['twice']} runs in two files")
        digest = self._settled_digest()
        self.location.close()
        seeds = {integer_seed(self.campaign, Purpose.INITIALIZATION, run): run for run in self.requested}
        injections = self.history.account(read_begun(self.note), seeds)
        return Result(self.plan, self.history.seconds, injections, digest, seen["polls"], self.problems, self.ended)

    def _work(self) -> None:
        due = list(self.plan.faults)
        deadline = time.monotonic() + _CAMPAIGN_SECONDS
        self.start_driver()
        while due or self._active or self.drivers or not self.history.complete:
            if time.monotonic() > deadline:
                self.problems.append(f"not done after {_CAMPAIGN_SECONDS:.0f} s: {len(self.history.committed)} runs")
                return
            self._look()
            self._supervise()
            if due and self.history.complete:
                due = []  # reported as not injected
            if due and len(self.history.committed) >= due[0][0] and not self._held:
                self._strike(due.pop(0)[1])
            self._advance()
            time.sleep(self.location.poll_seconds)

    def _look(self) -> None:
        try:
            # Two listings, joined: while a place is listed, a compaction can move runs to where it has looked already.
            store = Store.open(self.location.uri)
            shards = sorted({*store.shards(), *store.shards()})
        except StoreError:
            if self.history.committed:
                raise
            return  # the driver has not made it yet
        self.problems += self.history.see(shards)

    def _strike(self, name: str) -> None:
        fault = (LOCAL if self.plan.location == "disk" else REMOTE)[name][0]
        random = Random(f"{self.plan.seed}-{len(self.history.injections)}")  # noqa: S311 - reproducible, not secret
        self.history.inject(name)
        waits = fault(self, random)
        self._active.append(waits)
        self._waiting[id(waits)] = lambda: True

    def _advance(self) -> None:
        for waits in list(self._active):
            if not self._waiting[id(waits)]():
                continue
            try:
                self._waiting[id(waits)] = next(waits)
            except StopIteration:
                self._active.remove(waits)

    def _supervise(self) -> None:
        for driver in list(self.drivers):
            ended = driver.ended()
            if ended is None:
                continue
            self.drivers.remove(driver)
            if ended.code == 0 and not self._all_there():
                self.problems.append("a driver ended with 0 before all runs were there")
            if not ended.clear:
                self.problems.append(f"a driver ended unclearly, exit code {ended.code}: {ended.output[-1500:]}")
            if ended.code > 0:
                self.ended.append(ended.last_line)
        if not self.drivers and not self._held and not self.history.complete:
            self.start_driver()

    def _all_there(self) -> bool:
        self._look()
        return self.history.complete

    def _end_drivers(self, why: str) -> None:
        for driver in self.drivers:
            self.problems.append(f"a driver {why}")
            kill(driver.process.pid)
            driver.process.wait()
        self.drivers = []

    def _settled_digest(self) -> dict[str, dict[str, str]]:
        """Verify, estimate, digest and compare.

        A worker that was out of touch can commit a shard beside the file that it was merged into. Longtail takes each
        run once all the same; for other programs the user compacts once more when all is done, and so does this.
        """
        commands = [["verify"], ["estimate"]]
        if self.compacted:
            commands.insert(0, ["compact", "--grace", "0"])
        for command, *options in commands:
            words = longtail(command, self.location.uri, *options)
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                self.problems.append(f"longtail {command}: {done.stdout}{done.stderr}")
        digest, problems = digest_store(self.location.uri, {run.run_id for run in self.requested})
        self.problems += problems
        if self.plan.reference is not None:
            self.problems += compare(self.plan.reference, digest)
        return digest


def main() -> None:
    """Do what a plan says, and write the result."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text()))
    result = ChaosCampaign(plan, Path(sys.argv[1]).parent).run()
    Path(sys.argv[2]).write_text(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
