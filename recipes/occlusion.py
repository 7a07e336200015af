"""The occlusion network (`src/mien/assets/occlusion.onnx`): what of an unwrapped face is covered.

python recipes/occlusion.py            trains, resumes where it was; then exports
python recipes/occlusion.py --export   exports the averaged weights of the last checkpoint

Half an hour on one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import occlusion_data
import occlusion_samples
from mien import weights
from mien.faces.landmarks import TeacherLandmarker
from mien.nets.occlusion import Config as NetConfig
from mien.nets.occlusion import OcclusionNet

ROOT = Path(__file__).parents[1]
SIDE = 64


@dataclass(frozen=True)
class Config:
    """Everything that decides the weights. Samples are dear: a round makes some and goes over them `epochs` times."""

    net: NetConfig = field(default_factory=NetConfig)
    spoil: occlusion_samples.Spoil = field(default_factory=occlusion_samples.Spoil)
    seed: int = 1
    batch: int = 48
    batches: int = 48
    epochs: int = 4
    rounds: int = 34
    warm_up: int = 100
    lr: float = 4e-3
    weight_decay: float = 0.01
    ema: float = 0.995
    dice_weight: float = 0.5
    threads: int = 1


def main(config: Config, shared: Path, folder: Path) -> None:
    """Train to `config.rounds`, from the last checkpoint in `folder` if there is one."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=1))
    data = folder / "data"
    if not (data / "hands-test.npz").exists():
        teacher = TeacherLandmarker(shared / "weights" / "face_landmarker_v2_with_blendshapes.task")
        occlusion_data.prepare(shared, data, teacher)
    net, average = OcclusionNet(config.net).to(memory_format=torch.channels_last), OcclusionNet(config.net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
    done = load(folder, net, average, optimizer)
    start = done * config.batches
    samples = occlusion_samples.Samples(data, "train", config.batch, config.seed, start, config.spoil)
    made = iter(DataLoader(samples, batch_size=None, num_workers=1, prefetch_factor=config.batches))
    test = next(iter(occlusion_samples.Samples(data, "test", 384, 0, 0, config.spoil)))
    log = (folder / "log.jsonl").open("a")
    while done < config.rounds:
        began = time.monotonic()
        new = [next(made) for _ in range(config.batches)]
        x, covered, counts = (torch.cat(column) for column in zip(*new, strict=True))
        loss = go_over(net, average, optimizer, x, covered, counts, done, config)
        done += 1
        save(folder, done, net, average, optimizer)
        entry = {"round": done, "seconds": round(time.monotonic() - began), "loss": round(loss, 4)}
        log.write(json.dumps(entry | measure(average, *test)) + "\n")
        log.flush()


def go_over(
    net: OcclusionNet, average: OcclusionNet, optimizer: torch.optim.Optimizer,
    x: Tensor, covered: Tensor, counts: Tensor, done: int, config: Config,
) -> float:  # fmt: skip
    """One round: `epochs` times over its samples in new orders. Returns the mean loss."""
    rng = np.random.default_rng((config.seed, done))
    orders = np.concatenate([rng.permutation(len(x)) for _ in range(config.epochs)]).reshape(-1, config.batch)
    total = 0.0
    for i, rows in enumerate(orders):
        step = done * len(orders) + i
        for group in optimizer.param_groups:
            group["lr"] = config.lr * rate(step, config.rounds * len(orders), config.warm_up)
        light = torch.from_numpy(rng.uniform(0.85, 1.15, (config.batch, 1, 1, 1)).astype(np.float32))
        bias = torch.from_numpy(rng.normal(0, 0.08, (config.batch, 3, 1, 1)).astype(np.float32))
        seen = x[rows]
        seen[:, :3] = (seen[:, :3] * light + bias) * seen[:, 7:]
        with torch.autocast("cpu", torch.bfloat16):
            logit = net(seen.contiguous(memory_format=torch.channels_last))[:, 0].float()
        value = loss_of(logit, covered[rows], counts[rows], config.dice_weight)
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimizer.step()
        optimizer.zero_grad()
        follow(average, net, min(config.ema, (1 + step) / (10 + step)))
        total += float(value.detach())
    return total / len(orders)


def rate(step: int, steps: int, warm_up: int) -> float:
    """A short rise, then half a cosine."""
    return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + float(np.cos(np.pi * step / steps)))


def loss_of(logit: Tensor, covered: Tensor, counts: Tensor, dice_weight: float) -> Tensor:
    """Cross-entropy a texel, and 1 - dice of what is covered (Milletari et al. 2016), both on texels that are seen."""
    entropy = (F.binary_cross_entropy_with_logits(logit, covered, reduction="none") * counts).sum() / counts.sum()
    found, there = torch.sigmoid(logit) * counts, covered * counts
    both, either = (found * there).sum((1, 2)), (found + there).sum((1, 2))
    some = (there.sum((1, 2)) > 4).float()
    dice = ((1 - (2 * both + 1) / (either + 1)) * some).sum() / some.sum().clamp_min(1)
    return entropy + dice_weight * dice


@torch.no_grad()
def follow(average: OcclusionNet, net: OcclusionNet, keep: float) -> None:
    """Move the averaged weights towards the net's."""
    for mean, value in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)


@torch.no_grad()
def measure(net: OcclusionNet, x: Tensor, covered: Tensor, counts: Tensor) -> dict[str, float]:
    """Overlap (IoU over all samples' texels) with and without the usual look; flagged share of clean faces' texels."""
    found = (net.eval()(x)[:, 0] > 0) & (counts > 0)
    there = (covered > 0.5) & (counts > 0)
    usual = x[:, 6].amax((1, 2)) > 0
    result = {}
    for name, rows in (("iou_usual", usual), ("iou_alone", ~usual)):
        result[name] = float((found & there)[rows].sum() / (found | there)[rows].sum())
    for name, rows in (("false_usual", usual), ("false_alone", ~usual)):
        clean = rows & (covered.amax((1, 2)) == 0)
        result[name] = float(found[clean].sum() / counts[clean].sum())
    return {k: round(v, 4) for k, v in result.items()}


@torch.no_grad()
def save(folder: Path, done: int, net: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Everything a resumed run needs; written beside, then renamed."""
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
    part = folder / "state.part"
    save_file({k: v.contiguous() for k, v in tensors.items()}, part, metadata={"round": str(done)})
    os.replace(part, folder / f"state-{done:04d}.safetensors")
    for old in sorted(folder.glob("state-*.safetensors"))[:-2]:
        old.unlink()


@torch.no_grad()
def load(folder: Path, net: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Take up the last checkpoint; returns its round, 0 where there is none."""
    found = sorted(folder.glob("state-*.safetensors"))
    if not found:
        average.load_state_dict(net.state_dict())
        return 0
    tensors = load_file(found[-1])
    under = lambda prefix: {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}  # noqa: E731
    net.load_state_dict(under("net."))
    average.load_state_dict(under("average."))
    state = optimizer.state_dict()
    parameters = list(net.parameters())
    for key, value in under("optimizer.").items():
        i, name = key.split(".")
        if value.ndim:  # the fused step walks through memory: moments must lie as their parameter does
            value = torch.empty_like(parameters[int(i)]).copy_(value)
        state["state"].setdefault(int(i), {})[name] = value
    optimizer.load_state_dict(state)
    return int(found[-1].stem.split("-")[1])


class _Probability(nn.Module):
    """The network with its sigmoid, for export."""

    def __init__(self, net: OcclusionNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: Tensor) -> Tensor:
        return torch.sigmoid(self.net(features))


def ship(folder: Path, config: Config, figures: dict[str, str]) -> Path:
    """Export the last checkpoint's averaged weights into the package, with their card."""
    net, average = OcclusionNet(config.net), OcclusionNet(config.net)
    done = load(folder, net, average, torch.optim.AdamW(net.parameters()))
    path = weights.ASSETS / "occlusion.onnx"
    example = torch.zeros(1, 8, SIDE, SIDE)
    program = torch.onnx.export(
        _Probability(average).eval(), (example,), dynamo=True, optimize=True, verbose=False,
        input_names=["features"], output_names=["covered"],
    )  # fmt: skip
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:  # no trace of the machine that exported it
        del node.metadata_props[:]
        node.doc_string = ""
    model.producer_name, model.producer_version = "mien", ""
    content = model.SerializeToString()
    path.write_bytes(content)
    card = weights.Card(
        name="occlusion",
        file=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        licence="Apache-2.0",
        data="US-government portraits (public domain), Face Research Lab London Set (CC-BY-4.0, DeBruine & Jones "
        "2017), Intel IoT DevKit clips of two signers (CC-BY-4.0); meshes by MediaPipe's FaceLandmarker (Apache-2.0)",
        source="recipes/occlusion.py",
        paper="Ronneberger et al., U-Net: convolutional networks for biomedical image segmentation, 2015",
        note=f"64 x 64 unwrapped face and its usual texture to what is covered; round {done}",
        command="python recipes/occlusion.py",
        figures=figures,
    )
    (weights.ASSETS / "occlusion.card.json").write_text(json.dumps(dataclasses.asdict(card), indent=2) + "\n")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "occlusion", help="run folder")
    parser.add_argument("--rounds", type=int, default=Config.rounds)
    parser.add_argument("--export", action="store_true", help="only export the last checkpoint")
    parser.add_argument(
        "--figures", nargs="*", default=[], help="name=value: what benchmarks/occlusion.py measured, for the card"
    )
    options = parser.parse_args()
    settings = dataclasses.replace(Config(), rounds=options.rounds)
    if not options.export:
        main(settings, options.shared, options.run)
    print(ship(options.run, settings, dict(figure.split("=", 1) for figure in options.figures)))
