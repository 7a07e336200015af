"""Two processes that train one network against one process that adds up two shares: the same curve, and pictures a second.

    python benchmarks/ddp.py [--steps 30] [--processes 2]

`deepfakes` with narrow layers, 16 pictures of each of two people a step: by torchrun (gloo) with a thread a process, and
alone with as many threads, in as many shares. Each process makes the whole batch and takes its share.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch

from mien import data, train
from mien.systems import deepfakes
from toys import gallery

CONFIG = deepfakes.Config(width=64, latent=256, lr=1e-4)
BATCH = 16


def work(folder: Path, steps: int, threads: int, micro: int) -> None:
    """The training of one process."""
    torch.manual_seed(3)
    net, training = deepfakes.network(CONFIG, 2), deepfakes.training(CONFIG, 2)
    people = [gallery(name, CONFIG.size, seed=i) for i, name in enumerate(("one", "two"))]
    source = data.batches(people, deepfakes.AUGMENT, training, steps, BATCH, 1)
    settings = train.Settings(steps, BATCH, micro=micro, threads=threads, warmup=20, log_every=1, save_every=10**6)
    train.run(net, training, source, settings, folder)


def main(steps: int, processes: int) -> None:
    """Both, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        alone, team = Path(name) / "alone", Path(name) / "team"
        order = [__file__, "--steps", str(steps), "--work"]
        micro = ["--micro", str(BATCH // processes), "--threads", str(processes)]
        subprocess.run([sys.executable, *order, str(alone), *micro], check=True)
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        subprocess.run([*torchrun, *order, str(team)], check=True)
        one, two = ([json.loads(line) for line in (f / "log.jsonl").read_text().splitlines()] for f in (alone, team))
    apart = [abs(a["model/mae"] - b["model/mae"]) / a["model/mae"] for a, b in zip(one, two, strict=True)]
    speeds = [median(row["images_a_second"] for row in log[3:]) for log in (one, two)]
    print(
        f"{steps} steps: the loss falls from {one[0]['model/mae']} to {one[-1]['model/mae']} alone, to "
        f"{two[-1]['model/mae']} with {processes} processes; largest difference {max(apart):.2%}, mean "
        f"{sum(apart) / len(apart):.2%}; images/s {speeds[0]:.1f} alone, {speeds[1]:.1f} with {processes} processes"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--micro", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    if a.work:
        work(a.work, a.steps, a.threads, a.micro)
    else:
        main(a.steps, a.processes)
