"""Put a trained finishing network into the package: ONNX for use, safetensors to train on from, and a card each.

    python recipes/oneshot_ship.py mien_s out/oneshot/mien_s-128.safetensors --command "..." [--figures name=value ...]

Both files are written beside, then renamed. The ONNX is run next to the network that it is made from before it is kept.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import shipping
from mien import systems, weights
from mien.nets import engine
from mien.oneshot import drawing, finishing
from mien.phases import Drawn

LICENCE = "Apache-2.0"
DATA = (
    "portraits of US officials (public domain), Face Research Lab London Set (DeBruine and Jones 2017, CC BY 4.0), clips of "
    "signers (Intel IoT DevKit, CC BY 4.0), NASA clips, and variants that a mesh made of them"
)
PAPER = "ours; reversed triplets after Yuan et al., ReliableSwap, 2023; weak feature matching after Chen et al., SimSwap, 2020"
MOST = 2e-2
"""Largest difference to the network in bf16 weights, of a range of 2."""
GATE = {"added": 0.03, "mask": 0.03}
"""What a lower precision may change, see `weights.Card`, of a range of 2 and of 1: four grey levels at one pixel."""


class Answers(nn.Module):
    """A finishing network that answers by `finishing.OUTPUTS`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, target: Tensor, identity: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
        drawn: Drawn = self.net(target, identity, guide)
        assert drawn.mask is not None
        return drawn.sides[0], drawn.mask


def network(system: str, file: Path) -> tuple[nn.Module, int]:
    """The network in a recipe's file, in fp32, and the side of its pictures."""
    module = systems.module(system)
    config = module.Config(weights=str(file))
    config = drawing.settled(config, system)
    net = module.model(config)
    kept = load_file(file)
    net.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in kept.items()})
    return net.eval(), config.size


def main(system: str, file: Path, figures: dict[str, str], command: str) -> list[Path]:
    """Write both files and their cards."""
    net, side = network(system, file)
    torch.manual_seed(0)
    example = {"target": torch.rand(2, 3, side, side) * 2 - 1, "identity": F.normalize(torch.randn(2, 128)),
               "guide": torch.rand(2, 4, side, side)}  # fmt: skip
    kept = weights.ASSETS / f"{system}.onnx"
    part = kept.with_name(f"{system}.new.onnx")
    shipping.export(Answers(net), example, finishing.OUTPUTS, part)
    with torch.inference_mode():
        wanted = Answers(net)(*example.values())
    found = engine.load(part, engine="onnxruntime").run({name: x.numpy() for name, x in example.items()})
    apart = max(float(np.abs(a - b.numpy()).max()) for a, b in zip(found, wanted, strict=True))
    if apart > MOST:
        part.unlink()
        raise SystemExit(f"the exported network differs by {apart:.3f}: nothing was shipped")
    part.replace(kept)
    tensors = weights.ASSETS / f"{system}.safetensors"
    beside = tensors.with_name(tensors.name + ".part")
    shutil.copyfile(file, beside)
    beside.replace(tensors)
    told = {"licence": LICENCE, "data": DATA, "source": "recipes/oneshot.py", "paper": PAPER, "command": command}
    note = f"finishes what a mesh drew, at {side} px; the exported network differs by {apart:.4f} of 2"
    return [
        shipping.ship(system, kept, **told, figures=figures, gate=GATE, note=note),
        shipping.ship(
            f"{system}_tensors", tensors, **told, note="the same to train on from: recipes/oneshot.py --warm"
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system")
    parser.add_argument("file", type=Path)
    parser.add_argument("--command", required=True, help="how it was trained")
    parser.add_argument("--figures", nargs="*", default=[], help="name=value: what was measured, for the card")
    a = parser.parse_args()
    print(*main(a.system, a.file, dict(figure.split("=", 1) for figure in a.figures), a.command), sep="\n")
