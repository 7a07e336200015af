"""The identity network (`src/mien/assets/identity.onnx`): whether two faces are one person's.

python recipes/identity.py            makes the samples beside it, trains, resumes where it was; then exports
python recipes/identity.py --export   exports the averaged weights of the last checkpoint

An hour and three quarters on half of a Zen 5 core, 8400 steps of 64, and twenty minutes of another one
for the samples; 9 GB of disk.

It learns to give MobileFaceNet's vector of the very picture that it is shown, and the cosines of a batch among each
other (relational distillation: Park et al. 2019, section 3.2, here with cosines for distances).
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import identity_data
import identity_faces
import shipping
from mien import train, weights
from mien.nets.identity import SIDE, IdentityNet
from mien.nets.identity import Config as NetConfig

ROOT = Path(__file__).parents[1]
SCHEDULE = (
    *((0, 0.0), (300, 1.0), (3500, 1.0), (5200, 0.0)),
    *((5300, 0.6), (8400, 0.0)),  # once more, because 5200 steps had not learnt all they could
)


@dataclass(frozen=True)
class Config:
    """Everything that decides the weights."""

    net: NetConfig = field(default_factory=NetConfig)
    spoils: tuple[tuple[int, identity_faces.Spoil], ...] = identity_data.SPOILS
    supply: identity_data.Supply = field(default_factory=identity_data.Supply)
    batch: int = 64
    relational: float = 10.0
    plan: train.Plan = field(default_factory=lambda: train.Plan(schedule=SCHEDULE, save_every=200))


def losses(net: IdentityNet, batch: tuple[Tensor, Tensor], relational: float) -> dict[str, Tensor]:
    """1 - cosine to the teacher's vectors; squared difference of the batch's pairwise cosines, without each to itself."""
    crops, theirs = batch
    with torch.autocast("cpu", torch.bfloat16):
        ours = net(crops.contiguous(memory_format=torch.channels_last))
    theirs = F.normalize(theirs)
    away = 1 - (ours * theirs).sum(dim=1).mean()
    pairs = ours @ ours.T - theirs @ theirs.T
    related = pairs.fill_diagonal_(0).square().sum() / (len(ours) * (len(ours) - 1))
    return {"total": away + relational * related, "away": away, "related": related}


def main(config: Config, shared: Path, folder: Path) -> None:
    """Train to the end of the plan, while another process makes the samples."""
    data = folder / "data"
    command = [sys.executable, str(Path(identity_data.__file__)), "--shared", str(shared), "--data", str(data)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the other process ends too
    maker = subprocess.Popen(command)
    try:
        torch.manual_seed(config.plan.seed)
        train.fit(
            IdentityNet(config.net),
            lambda step: identity_data.batches(data, config.supply, config.batch, config.plan.seed, step),
            lambda net, batch: losses(net, batch, config.relational),
            config.plan,
            folder,
            describe=config,
        )
    finally:
        maker.terminate()
        maker.wait()


def ship(config: Config, folder: Path, figures: dict[str, str]) -> Path:
    """Export the last checkpoint's averaged weights into the package, with their card."""
    net, step = train.latest(IdentityNet(config.net), folder)
    path = weights.ASSETS / "identity.onnx"
    shipping.export(net, {"crop": torch.zeros(2, 3, SIDE, SIDE)}, ["vector"], path)
    return shipping.ship(
        "identity",
        path,
        licence="Apache-2.0",
        data="US-government portraits (public domain), Intel IoT DevKit clips of three signers (CC-BY-4.0), faces blended "
        "from them through the mesh; vectors by MobileFaceNet (Apache-2.0)",
        source="recipes/identity.py",
        paper="Chen et al., MobileFaceNets, 2018; Park et al., Relational knowledge distillation, 2019",
        note=f"112 px RGB crop on the ArcFace template in [-1, 1] to a unit vector of 128 numbers; step {step}",
        command="python recipes/identity.py",
        figures=figures,
        gate={"vector": 0.01},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "identity", help="run folder")
    parser.add_argument("--export", action="store_true", help="only export the last checkpoint")
    parser.add_argument("--figures", type=json.loads, default={}, help="what benchmarks/identity.py measured, as JSON")
    options = parser.parse_args()
    if not options.export:
        main(Config(), options.shared, options.run)
    print(ship(Config(), options.run, options.figures))
