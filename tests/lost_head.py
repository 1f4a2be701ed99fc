"""A driver whose cluster's head is killed, in namespaces of its own: prints its last words and its exit code.

Ray's own minute until it ends the driver is as Ray has it; ours is cut from 20 seconds to 3.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.chaos.cluster import ADDRESS, Cluster, cluster_environment
from benchmarks.isolation import wait_until
from orchestrator.runners.ray.preflight import make_token
from tests.conftest import busy_campaign
from workers.campaign.yaml_io import dump_campaign

SCRIPT = (
    "import sys; sys.argv[0] = 'longtail'; import orchestrator.runners.ray.head_watch as watch; "
    "watch.HEAD_SECONDS = 3.0; "
    "from orchestrator.cli.app import main; main()"
)


def main(store: Path) -> None:
    campaign = store.with_name("campaign.yaml")
    campaign.write_text(dump_campaign(busy_campaign()))
    environment = cluster_environment()
    del environment["RAY_gcs_rpc_server_reconnect_timeout_s"]
    os.environ["RAY_AUTH_MODE"] = "token"
    make_token()
    with tempfile.TemporaryDirectory(prefix="lt-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder), environment, nodes=1, cpus=1)
        cluster.start()
        command = [sys.executable, "-c", SCRIPT, "run", campaign, "-s", store, "--runner", "ray", "--address", ADDRESS]
        command += ["--repetitions", "100000", "--shard-size", "1"]
        driver = subprocess.Popen(
            [str(word) for word in command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        begun = wait_until(lambda: any((store / "results").glob("r*.parquet")), driver)
        cluster.head.kill()
        output, _ = driver.communicate(timeout=50)
        cluster.close()
    print(f"begun {begun}\n{output.splitlines()[-1]}\nexit {driver.returncode}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
