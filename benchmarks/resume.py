"""Kill a training at random steps: what is resumed must end in the weights of an undisturbed run, bit for bit.

    python benchmarks/resume.py [--kills 10] [--steps 60] [--seed 1]

A small `deepfakes` network and a critic, in two phases (Adam; AdaBelief with lr-dropout, every second step), with chance within
a step (mixup), averaged weights, clipping, warm-up and decoders that change places halfway, fed by the whole data path.
SIGKILL at a random moment of a random step, whatever the process does then, saving included; then the same command again.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from mien import data, train
from mien.phases import Batch, Moment, Optimiser, Phase, Training
from mien.systems import deepfakes
from mien.train import folder as keeping

CONFIG = deepfakes.Config(size=32, width=16, latent=32)


def draw(net: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
    """Absolute error, and fooling the critic with a mixture of what was drawn and what is true."""
    drawn = [net["model"](side.warped, person).rgb for person, side in enumerate(batch)]
    share = torch.rand(len(drawn[0]), 1, 1, 1)
    mixed = share * drawn[0] + (1 - share) * batch[0].target
    return {
        "error": sum((d - side.target).abs().mean() for d, side in zip(drawn, batch, strict=True)),
        "fool": net["critic"](mixed).square().mean(),
    }


def judge(net: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
    """Least squares."""
    with torch.no_grad():
        drawn = net["model"](batch[0].warped, 0).rgb
    critic = net["critic"]
    return {"real": (critic(batch[0].target) - 1).square().mean(), "drawn": critic(drawn).square().mean()}


def exchange(net: nn.Module) -> None:
    """Decoders change places."""
    decoders = net["model"].decoders
    decoders["d0"], decoders["d1"] = decoders["d1"], decoders["d0"]


def work(folder: Path, steps: int) -> None:
    """The training, from wherever it was killed."""
    from toys import gallery

    torch.manual_seed(3)
    critic = nn.Sequential(nn.Conv2d(3, 8, 4, 2), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4, 2))
    net = deepfakes.network(CONFIG, 2)
    net["critic"] = critic
    model = Phase("model", ("model.",), draw, {"error": 1.0, "fool": ((0.0, 0.0), (0.3, 0.1))}, Optimiser(lr=1e-3))
    optimiser = Optimiser("adabelief", 1e-3, lr_dropout=0.3)
    critic_phase = Phase("critic", ("critic.",), judge, {"real": 0.5, "drawn": 0.5}, optimiser, every=2)
    training = Training((model, critic_phase), events=((0.5, exchange),))
    people = [gallery(name, CONFIG.size, seed=i) for i, name in enumerate(("one", "two"))]
    source = data.batches(people, deepfakes.AUGMENT, training, steps, 8, 1)

    def told(step: int) -> Iterator[Batch]:
        for k, batch in enumerate(source(step), step):
            print(k, flush=True)
            yield batch

    settings = train.Settings(steps, 8, ema=0.99, clip=1.0, warmup=10, threads=1, log_every=5, save_every=7)
    train.run(net, training, told, settings, folder)


def start(folder: Path, steps: int) -> subprocess.Popen[str]:
    """The training in a process of its own, which prints each step it begins."""
    command = [sys.executable, __file__, "--work", str(folder), "--steps", str(steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def main(kills: int, steps: int, seed: int) -> int:
    """Deal the kills over one run, then compare; returns how many tensors differ."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        whole, killed = Path(name) / "whole", Path(name) / "killed"
        start(whole, steps).communicate()
        at = sorted(chance.sample(range(1, steps), kills))
        for step in at:
            with start(killed, steps) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    if int(line) >= step:
                        time.sleep(chance.random() * 0.1)
                        process.send_signal(signal.SIGKILL)
                        break
                else:
                    raise SystemExit("the training ended before it was killed")
        start(killed, steps).communicate()
        kept = [keeping.load(folder) for folder in (whole, killed)]
        assert all(kept), "a training could not be begun"
        first, second = (found[1] for found in kept if found)
        assert first.keys() == second.keys()
        wrong = sum(not torch.equal(first[k], second[k]) for k in first)
        same = (whole / "log.jsonl").read_text().count("\n") == (killed / "log.jsonl").read_text().count("\n")
        print(f"killed at steps {at}; {wrong} of {len(first)} tensors differ; the logs have as many rows: {same}")
        return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path)
    a = parser.parse_args()
    if a.work:
        work(a.work, a.steps)
    else:
        sys.exit(main(a.kills, a.steps, a.seed) > 0)
