"""How long a fresh process takes until it trains: each stage's seconds, as JSON.

python -m benchmarks.gpu.starting --device cuda
"""

import argparse
import json
import subprocess
import sys
import time

_STARTED = time.perf_counter()


def measure_start(device: str) -> dict[str, float]:
    """The stages in a process of their own, and that process from start to end. Raises RuntimeError."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.gpu.starting", "--device", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no error message"])[-1])
    stages: dict[str, float] = json.loads(done.stdout)
    return {**stages, "whole process": time.perf_counter() - started}


def main() -> None:
    """In the process that is measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    device = parser.parse_args().device
    stages: dict[str, float] = {}
    reached = _STARTED

    def mark(stage: str) -> None:
        nonlocal reached
        earlier, reached = reached, time.perf_counter()
        stages[stage] = round(reached - earlier, 3)

    import torch

    mark("import torch")
    where = torch.device(device)
    torch.zeros(1, device=where)
    mark("device context")
    from benchmarks.gpu.cases import Case, made_images
    from workers.training.device_data import load_on_device

    mark("import longtail")
    case = Case("resnet9", 2, "bfloat16", augmented=True)
    campaign, engine = case.campaign(), case.engine()
    data = load_on_device(made_images(), campaign, made_images().train_labels, where)
    mark("data")
    engine.train(campaign, data, case.runs[:2])
    mark("first stack")
    engine.train(campaign, data, case.runs[2:])
    mark("second stack")
    print(json.dumps(stages))


if __name__ == "__main__":
    main()
