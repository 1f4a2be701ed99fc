"""Commands on one Ray cluster, one after the other in this process: prints {name: [exit code, what was said]} as JSON.

    python -m tests.one_cluster FOLDER HOST:PORT

A shard is given up after two workers that it killed, not after five. See test_commands_on_an_existing_cluster.
"""

import json
import sys
from pathlib import Path

from orchestrator.runners import scheduler
from tests.command import call
from tests.conftest import small_campaign
from tests.influence.test_influence_command import planted
from workers.campaign.yaml_io import dump_campaign

CAMPAIGNS: dict[str, dict[str, object]] = {
    "plain": {},
    "ending": {"model": {"name": "user_code:ending_model", "options": {"kind": "exit"}}},
    "dying": {"model": {"name": "user_code:dying_model"}, "subsets": {"ratios": [0.5], "repetitions": 1}},
}


def main(folder: Path, address: str) -> None:
    """Writes the stores, and the pairs, into the folder."""
    scheduler.MAX_LOST = 2
    files = {name: folder / f"{name}.yaml" for name in CAMPAIGNS}
    for name, parts in CAMPAIGNS.items():
        files[name].write_text(dump_campaign(small_campaign(**parts)))
    (folder / "code").mkdir()
    commands: dict[str, list[object]] = {
        "plain": ["run", files["plain"], "-s", folder / "plain", "--working-dir", folder / "code"],
        "none": ["run", files["plain"], "-s", folder / "none", "--gpus-per-worker", 0.5],
        **{name: ["run", files[name], "-s", folder / name] for name in ("ending", "dying")},
        "influence": ["influence", planted(folder / "planted"), "--fdr", 0.05, "--memory-mb", 1],
    }
    commands["influence"] += ["-o", folder / "pairs.parquet"]
    ended = {name: call(*words, "--runner", "ray", "--address", address) for name, words in commands.items()}
    print(json.dumps({name: (code, output + errors) for name, (code, output, errors) in ended.items()}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
