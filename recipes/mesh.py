"""The mesh network (`src/mien/assets/mesh.onnx`), distilled from MediaPipe's FaceLandmarker.

    python recipes/mesh.py            trains, resumes where it was; then exports
    python recipes/mesh.py --export   exports the averaged weights of the last checkpoint

3600 steps, 346 000 samples: 1 h 35 min on a crowded machine of 2 cores, some 40 min on one free core (150 samples/s).
Score (benchmarks/mesh.py, London neutral, % of the eye distance; the teacher's beside it): pupils 3.27 / 1.39,
eye corners 2.95 / 1.99, mouth corners 3.51 / 2.18; spread under shifts of parts of a pixel 0.224 / 0.227.
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
from typing import TextIO

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import mesh_data
from mien import weights
from mien.faces import topology
from mien.faces.landmarks import TeacherLandmarker
from mien.nets.mesh import Block, MeshNet
from mien.nets.mesh import Config as NetConfig

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Config:
    """Everything that decides the weights."""

    net: NetConfig = field(default_factory=NetConfig)
    spoil: mesh_data.Spoil = field(default_factory=mesh_data.Spoil)
    seed: int = 1
    batch: int = 96
    schedule: tuple[tuple[int, float], ...] = (
        *((0, 0.0), (300, 1.0), (1600, 1.0), (2100, 0.375), (2900, 0.0)),
        *((2940, 0.4), (3600, 0.0)),  # with calmer samples, see `Spoil`
        *((3640, 0.45), (4500, 0.0)),  # once more, because 3600 steps had not learnt all they could
    )
    """Learning rate over `lr` at these steps, straight lines between them; the last one ends the run."""
    lr: float = 2e-3
    weight_decay: float = 0.02
    ema: float = 0.998
    depth_weight: float = 0.3
    presence_weight: float = 0.3
    part_weights: dict[str, float] = field(
        default_factory=lambda: {"eyes": 3.0, "irises": 8.0, "lips": 2.0, "brows": 1.5}
    )
    threads: int = 1


def main(config: Config, shared: Path, folder: Path) -> None:
    """Train to the end of the schedule, from the last checkpoint in `folder` if there is one."""
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
    importance = point_weights(config)
    log = open_log(folder / "log.jsonl", step)
    sums: dict[str, float] = {}
    began, since = time.monotonic(), step
    last = config.schedule[-1][0]
    while step < last:
        crops, points, present = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * rate(step, config)
        x = (crops.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            found, logit = net(x)
        terms = losses(found, logit, points, present, importance, config)
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
        if step % 100 == 0 or step == last:
            save(folder, step, net, average, optimizer)


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


def open_log(path: Path, step: int) -> TextIO:
    """The log, without what a killed run wrote after its last checkpoint."""
    lines = path.read_text().splitlines() if path.exists() else []
    log = path.open("w")
    log.writelines(line + "\n" for line in lines if json.loads(line)["step"] <= step)
    return log


def rate(step: int, config: Config) -> float:
    """Learning rate at `step` over its peak."""
    return float(np.interp(step, *zip(*config.schedule, strict=True)))


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


@torch.no_grad()
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
    parameters = list(net.parameters())
    for key, value in under("optimizer.").items():
        i, name = key.split(".")
        if value.ndim:  # the fused step walks through memory: moments must lie as their parameter does
            value = torch.empty_like(parameters[int(i)]).copy_(value)
        state["state"].setdefault(int(i), {})[name] = value
    optimizer.load_state_dict(state)
    return int(found[-1].stem.split("-")[1])


def export(net: MeshNet, path: Path) -> None:
    """Write the network as ONNX: crop (N x 3 x side x side, [-1, 1]) to points (N x 478 x 3) and presence (N).

    Batch norms are folded into the convolutions; weights are kept as fp16 and cast when loaded, biases as fp32.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def op(kind: str, *inputs: str, **attributes: object) -> str:
        name = f"x{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(value: Tensor, dtype: type = np.float32) -> str:
        name = f"c{len(constants)}"
        constants.append(numpy_helper.from_array(value.detach().numpy().astype(dtype), name))
        return op("Cast", name, to=TensorProto.FLOAT) if dtype is np.float16 else name

    def conv(x: str, layer: nn.Conv2d, norm: nn.BatchNorm2d) -> str:
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()  # type: ignore[operator]
        weight, bias = layer.weight * gain[:, None, None, None], norm.bias - norm.running_mean * gain  # type: ignore[operator]
        pad, stride = layer.padding[0], layer.stride[0]
        return op("Conv", x, constant(weight, np.float16), constant(bias), pads=[pad] * 4, strides=[stride] * 2)

    side, half = net.config.side, net.config.side / 2
    x = "crop"
    for part in net.features:
        if isinstance(part, Block):
            y = op("Relu", conv(x, part.first[0], part.first[1]))
            x = op("Relu", op("Add", x, conv(y, part.second[0], part.second[1])))
        else:
            x = op("Relu", conv(x, part[0], part[1]))
    x = op("Flatten", op("Relu", conv(x, net.readout[0], net.readout[1])))
    code = op("Gemm", x, constant(net.code.weight, np.float16), constant(net.code.bias), transB=1)
    middle = torch.tensor([1.0, 1.0, 0.0]).repeat(topology.POINTS) * (side - 1) / 2
    bias = constant(net.mesh.bias * half + middle)
    flat = op("Gemm", code, constant(net.mesh.weight * half, np.float16), bias, transB=1)
    shape = constant(torch.tensor([-1, topology.POINTS, 3]), np.int64)
    nodes.append(helper.make_node("Reshape", [flat, shape], ["points"]))
    logit = op("Gemm", code, constant(net.presence.weight), constant(net.presence.bias), transB=1)
    nodes.append(helper.make_node("Reshape", [logit, constant(torch.tensor([-1]), np.int64)], ["presence"]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "mesh",
        [value("crop", TensorProto.FLOAT, ["n", 3, side, side])],
        [value("points", TensorProto.FLOAT, ["n", topology.POINTS, 3]), value("presence", TensorProto.FLOAT, ["n"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="mien")
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def ship(folder: Path, figures: dict[str, str]) -> Path:
    """Export the last checkpoint's averaged weights into the package, with their card."""
    config = Config()
    net, average = MeshNet(config.net), MeshNet(config.net)
    step = load(folder, net, average, torch.optim.AdamW(net.parameters()))
    path = weights.ASSETS / "mesh.onnx"
    export(average.eval(), path)
    content = path.read_bytes()
    card = weights.Card(
        name="mesh",
        file=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        licence="Apache-2.0",
        data="US-government portraits and NASA photos (public domain), Intel IoT DevKit clips (CC-BY-4.0), photos of "
        "lisa (CC0), all marked by MediaPipe's FaceLandmarker (Apache-2.0); expressions of ICT-FaceKit (MIT)",
        source="recipes/mesh.py",
        paper="Grishchenko et al., Attention Mesh: high-fidelity face mesh prediction in real-time, 2020 (the teacher)",
        note=f"478-point mesh with iris and presence from a 128 px crop; step {step}",
        command="python recipes/mesh.py",
        figures=figures,
    )
    (weights.ASSETS / "mesh.card.json").write_text(json.dumps(dataclasses.asdict(card), indent=2) + "\n")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/ and weights/")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "mesh", help="run folder")
    parser.add_argument("--export", action="store_true", help="only export the last checkpoint")
    parser.add_argument(
        "--figures", nargs="*", default=[], help="name=value: what benchmarks/mesh.py measured, for the card"
    )
    options = parser.parse_args()
    if not options.export:
        main(Config(), options.shared, options.run)
    print(ship(options.run, dict(figure.split("=", 1) for figure in options.figures)))
