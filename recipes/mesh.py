"""The mesh network (`src/mien/assets/mesh.onnx`), distilled from MediaPipe's FaceLandmarker.

    python recipes/mesh.py            trains, resumes where it was; then exports
    python recipes/mesh.py --export   exports the averaged weights of the last checkpoint

3600 steps, 346 000 samples: 1 h 35 min on a crowded machine of 2 cores, some 40 min on one free core (150 samples/s).
Score (benchmarks/mesh.py, London neutral, % of the eye distance; the teacher's beside it): pupils 3.27 / 1.39,
eye corners 2.95 / 1.99, mouth corners 3.51 / 2.18; spread under shifts of parts of a pixel 0.224 / 0.227.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

import mesh_data
import shipping
from mien import train, weights
from mien.faces import topology
from mien.faces.landmarks import TeacherLandmarker
from mien.nets.mesh import Config as NetConfig
from mien.nets.mesh import MeshNet

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Config:
    """Everything that decides the weights, beside the plan."""

    net: NetConfig = field(default_factory=NetConfig)
    spoil: mesh_data.Spoil = field(default_factory=mesh_data.Spoil)
    batch: int = 96
    depth_weight: float = 0.3
    presence_weight: float = 0.3
    part_weights: dict[str, float] = field(
        default_factory=lambda: {"eyes": 3.0, "irises": 8.0, "lips": 2.0, "brows": 1.5}
    )


PLAN = train.Plan(
    schedule=(
        *((0, 0.0), (300, 1.0), (1600, 1.0), (2100, 0.375), (2900, 0.0)),
        *((2940, 0.4), (3600, 0.0)),  # with calmer samples, see `Spoil`
        *((3640, 0.45), (4500, 0.0)),  # once more, because 3600 steps had not learnt all they could
    ),
    lr=2e-3,
    weight_decay=0.02,
    ema=0.998,
)


def main(config: Config, shared: Path, folder: Path) -> MeshNet:
    """Train to the end of the plan, from the last checkpoint in `folder` if there is one; the averaged network."""
    data = folder / "data"
    if not (data / "faces.npy").exists():
        teacher = TeacherLandmarker(shared / "weights" / "face_landmarker_v2_with_blendshapes.task")
        mesh_data.prepare(shared, data, teacher, PLAN.seed)
    torch.manual_seed(PLAN.seed)
    net = MeshNet(config.net)
    first = mesh_data.Samples(data, config.net.side, 2000, PLAN.seed + 1, 0, config.spoil)
    net.set_basis(next(iter(first))[1].numpy())
    importance = point_weights(config)

    def batches(step: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        samples = mesh_data.Samples(data, config.net.side, config.batch, PLAN.seed, step, config.spoil)
        return iter(DataLoader(samples, batch_size=None, num_workers=1, prefetch_factor=4))

    def terms(net: MeshNet, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        crops, points, present = batch
        x = (crops.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            found, logit = net(x)
        return losses(found, logit, points, present, importance, config)

    return train.fit(net, batches, terms, PLAN, folder, describe=config)


def point_weights(config: Config) -> Tensor:
    """How much each of the 478 points counts."""
    parts = {
        "eyes": topology.LEFT_EYE + topology.RIGHT_EYE,
        "irises": topology.LEFT_IRIS + topology.RIGHT_IRIS,
        "lips": topology.LIPS_INNER + topology.LIPS_OUTER,
        "brows": topology.LEFT_BROW + topology.RIGHT_BROW,
    }
    importance = torch.ones(topology.POINTS)
    for name, weight in config.part_weights.items():
        importance[list(parts[name])] = weight
    return importance / importance.sum()


def losses(
    found: Tensor, logit: Tensor, points: Tensor, present: Tensor, importance: Tensor, config: Config
) -> dict[str, Tensor]:
    """Distances in units of the eye distance (in 3-D, so that a turned head counts alike), and presence."""
    eyes = (points[:, 263] - points[:, 33]).norm(dim=1)[:, None, None]
    error = (found - points) / eyes
    flat = (error[..., :2].square().sum(-1) + 1e-6).sqrt()
    deep = error[..., 2].abs()
    face = present.float()
    count = face.sum().clamp_min(1)
    terms = {
        "plane": ((flat * importance).sum(1) * face).sum() / count,
        "depth": ((deep * importance).sum(1) * face).sum() / count,
        "presence": F.binary_cross_entropy_with_logits(logit, face),
    }
    total = terms["plane"] + config.depth_weight * terms["depth"] + config.presence_weight * terms["presence"]
    return terms | {"iris": (flat[:, 468:].mean(1) * face).sum().detach() / count, "total": total}


def ship(net: MeshNet, figures: dict[str, str]) -> Path:
    """Export a trained network into the package, with its card."""
    path = weights.ASSETS / "mesh.onnx"
    example = torch.zeros(2, 3, net.config.side, net.config.side)
    shipping.export(net, {"crop": example}, ["points", "presence"], path)
    return shipping.ship(
        "mesh",
        path,
        licence="Apache-2.0",
        data="US-government portraits and NASA photos (public domain), Intel IoT DevKit clips (CC-BY-4.0), photos of "
        "lisa (CC0), all marked by MediaPipe's FaceLandmarker (Apache-2.0); expressions of ICT-FaceKit (MIT)",
        source="recipes/mesh.py",
        paper="Grishchenko et al., Attention Mesh: high-fidelity face mesh prediction in real-time, 2020 (the teacher)",
        note=f"478-point mesh with iris and presence from a 128 px crop; step {PLAN.steps}",
        command="python recipes/mesh.py",
        figures=figures,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "mesh", help="run folder")
    parser.add_argument("--export", action="store_true", help="only export the last checkpoint")
    parser.add_argument(
        "--figures", nargs="*", default=[], help="name=value: what benchmarks/mesh.py measured, for the card"
    )
    options = parser.parse_args()
    if options.export:
        net, _ = train.latest(MeshNet(Config().net), options.run)
    else:
        net = main(Config(), options.shared, options.run)
    print(ship(net, dict(figure.split("=", 1) for figure in options.figures)))
