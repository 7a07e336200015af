"""The mesh network (`src/mien/assets/mesh.onnx`), distilled from MediaPipe's FaceLandmarker.

    python recipes/mesh.py            trains, resumes where it was; then exports
    python recipes/mesh.py --export   exports the averaged weights of the last checkpoint
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import mesh_data
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from mien.faces import topology
from mien.faces.landmarks import TeacherLandmarker
from mien.nets.mesh import Config as NetConfig
from mien.nets.mesh import MeshNet

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Config:
    """Everything that decides the weights."""

    net: NetConfig = NetConfig()
    spoil: mesh_data.Spoil = mesh_data.Spoil()
    seed: int = 1
    batch: int = 96
    steps: int = 6500
    warm_up: int = 300
    decay: int = 2200  # last steps, over which the learning rate falls to zero
    lr: float = 2e-3
    weight_decay: float = 0.02
    ema: float = 0.998
    depth_weight: float = 0.3
    presence_weight: float = 0.3
    part_weights: dict[str, float] = field(default_factory=lambda: {"eyes": 3.0, "irises": 8.0, "lips": 2.0, "brows": 1.5})
    threads: int = 2


def main(config: Config, shared: Path, folder: Path) -> None:
    """Train to `config.steps`, from the last checkpoint in `folder` if there is one."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=1))
    data = folder / "data"
    if not (data / "faces.npy").exists():
        teacher = TeacherLandmarker(shared / "weights" / "face_landmarker_v2_with_blendshapes.task")
        mesh_data.prepare(shared, data, teacher, config.seed)
    net = MeshNet(config.net).to(memory_format=torch.channels_last)
    average = MeshNet(config.net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
    step = load(folder, net, average, optimizer)
    if step == 0:
        first = mesh_data.Samples(data, config.net.side, 2000, config.seed + 1, 0, config.spoil)
        net.set_basis(next(iter(first))[1].numpy())
        average.load_state_dict(net.state_dict())
    samples = mesh_data.Samples(data, config.net.side, config.batch, config.seed, step, config.spoil)
    batches = iter(DataLoader(samples, batch_size=None, num_workers=1, prefetch_factor=4))
    weights = point_weights(config)
    log = (folder / "log.jsonl").open("a")
    sums: dict[str, float] = {}
    began, since = time.monotonic(), step
    while step < config.steps:
        crops, points, present = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * rate(step, config)
        x = (crops.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            found, logit = net(x)
        terms = losses(found, logit, points, present, weights, config)
        terms["total"].backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        follow(average, net, min(config.ema, (1 + step) / (10 + step)))
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if step % 50 == 0:
            speed = (step - since) * config.batch / (time.monotonic() - began)
            entry = {"step": step, "speed": round(speed, 1)} | {k: round(v / 50, 5) for k, v in sums.items()}
            log.write(json.dumps(entry) + "\n")
            log.flush()
            sums.clear()
        if step % 250 == 0 or step == config.steps:
            save(folder, step, net, average, optimizer)


def point_weights(config: Config) -> Tensor:
    """How much each of the 478 points counts."""
    parts = {
        "eyes": topology.LEFT_EYE + topology.RIGHT_EYE,
        "irises": topology.LEFT_IRIS + topology.RIGHT_IRIS,
        "lips": topology.LIPS_INNER + topology.LIPS_OUTER,
        "brows": topology.LEFT_BROW + topology.RIGHT_BROW,
    }
    weights = torch.ones(topology.POINTS)
    for name, weight in config.part_weights.items():
        weights[list(parts[name])] = weight
    return weights / weights.sum()


def losses(
    found: Tensor, logit: Tensor, points: Tensor, present: Tensor, weights: Tensor, config: Config
) -> dict[str, Tensor]:
    """Distances in units of the eye distance (in 3-D, so that a turned head counts alike), and presence."""
    eyes = (points[:, 263] - points[:, 33]).norm(dim=1)[:, None, None]
    error = (found - points) / eyes
    flat = (error[..., :2].square().sum(-1) + 1e-6).sqrt()
    deep = error[..., 2].abs()
    face = present.float()
    count = face.sum().clamp_min(1)
    terms = {
        "plane": ((flat * weights).sum(1) * face).sum() / count,
        "depth": ((deep * weights).sum(1) * face).sum() / count,
        "presence": F.binary_cross_entropy_with_logits(logit, face),
    }
    total = terms["plane"] + config.depth_weight * terms["depth"] + config.presence_weight * terms["presence"]
    return terms | {"iris": (flat[:, 468:].mean(1) * face).sum().detach() / count, "total": total}


def rate(step: int, config: Config) -> float:
    """Learning rate over its peak: rises, stays, falls to zero at the end."""
    return min((step + 1) / config.warm_up, 1.0, max(config.steps - step, 0) / config.decay)


@torch.no_grad()
def follow(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the averaged weights and statistics a little towards the current ones."""
    for mean, now in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - decay)
        else:
            mean.copy_(now)


def save(folder: Path, step: int, net: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """One safetensors file with all that a resumed run needs; written beside, then renamed."""
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
    part = folder / "state.part"
    save_file({k: v.contiguous() for k, v in tensors.items()}, part, metadata={"step": str(step)})
    os.replace(part, folder / f"state-{step:06d}.safetensors")
    for old in sorted(folder.glob("state-*.safetensors"))[:-2]:
        old.unlink()


def load(folder: Path, net: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Take up the last checkpoint; returns its step, 0 where there is none."""
    found = sorted(folder.glob("state-*.safetensors"))
    if not found:
        return 0
    tensors = load_file(found[-1])
    under = lambda prefix: {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}  # noqa: E731
    net.load_state_dict(under("net."))
    average.load_state_dict(under("average."))
    state = optimizer.state_dict()
    for key, value in under("optimizer.").items():
        i, name = key.split(".")
        state["state"].setdefault(int(i), {})[name] = value
    optimizer.load_state_dict(state)
    return int(found[-1].stem.split("-")[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "mesh", help="run folder")
    parser.add_argument("--steps", type=int, default=Config.steps)
    options = parser.parse_args()
    main(dataclasses.replace(Config(), steps=options.steps), options.shared, options.run)
