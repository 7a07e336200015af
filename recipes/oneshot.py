"""Train a one-shot system on a pack: `recipes/oneshot_data.py` first.

    python recipes/oneshot.py mien_s [--size 64 --steps 40000 --batch 32] [--minutes 8] [--set late=false] [--pairs reversed=0]
    python recipes/oneshot.py mien_s --size 128 --steps 20000 --warm out/oneshot/mien_s-64.safetensors

Each size is a run of its own, which goes on where it was; a network starts from the weights of a smaller size where they fit.
Every save writes OUT/SYSTEM-SIZE.safetensors, which draws: `mien swap PHOTO TARGET -o OUT --system mien_s --set weights=FILE`,
and looks at pairs of held-out people: who is drawn, whether the pose is kept, whether hair comes along (`oneshot.monitor`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from mien import pack as packing
from mien import pairs, systems, train
from mien.oneshot import drawing, learning, monitor
from mien.phases import Side
from mien.train.team import cut

ROOT = Path(__file__).parents[1]
LOOKS = 24
"""Pairs of held-out people that are looked at."""


@dataclass(frozen=True)
class Held:
    """Pairs of people whom nobody learns from. crossed: everybody drawn as somebody else; own: as themselves."""

    crossed: Side
    own: Side

    def seen(self, model: nn.Module) -> monitor.Seen:
        """What a network does to them."""
        place = next(model.parameters()).device
        sides = [cut(side, 0, LOOKS, place) for side in (self.crossed, self.own)]
        with torch.no_grad():
            drawn, itself = (learning.drawn(model, side, side.more["identity"].to(place)) for side in sides)
        side = sides[0]
        return monitor.see(
            drawn, itself, side.target, side.warped, self.crossed.more["points"].numpy(), side.masks["face"]
        )


class Watcher:
    """Prints the log, keeps the network in a file, looks at held-out people."""

    def __init__(self, system: str, config: Any, file: Path, held: Held | None) -> None:
        self._system, self._config, self._file, self._held = system, config, file, held

    def logged(self, step: int, row: Mapping[str, float]) -> None:
        """See `train.Watch`."""
        print(step, {name.split("/")[-1]: round(value, 4) for name, value in row.items() if name != "step"}, flush=True)

    def saved(self, step: int, net: nn.ModuleDict) -> None:
        """See `train.Watch`."""
        drawing.write(self._file, net["model"], self._system, asdict(self._config), step)
        if self._held is not None:
            seen = self._held.seen(net["model"])
            figures = json.dumps({name: round(value, 3) for name, value in asdict(seen).items()})
            print(f"step {step}: {figures}", *seen.troubles(), sep="\n  ", flush=True)

    def note(self, text: str) -> None:
        """See `train.Watch`."""
        print(text, flush=True)


def held_out(pack: packing.Pack, sampling: pairs.Settings) -> Held:
    """Pairs of the pictures that nobody learns from."""
    rows = (pack.split == packing.HELD_OUT).nonzero()[:, 0]
    rows = rows[:: max(1, len(rows) // LOOKS)][:LOOKS]
    sources = rows.roll(len(rows) // 2)
    assert (pack.person[rows] != pack.person[sources]).any(), "the pack holds out two people or more"
    return Held(*(pairs.fixed(pack, rows.numpy(), of.numpy(), sampling) for of in (sources, rows)))


def main(a: argparse.Namespace) -> None:
    """Train one size of one system."""
    module = systems.module(a.system)
    config = module.Config(size=a.size, **_told(a.set))
    pack = packing.read(a.pack, a.size)
    print(pack.describe(), flush=True)
    torch.manual_seed(1)
    net = module.network(config)
    if a.warm:
        mine, found = net["model"].state_dict(), load_file(a.warm)
        fits = [name for name, value in mine.items() if name in found and found[name].shape == value.shape]
        fitted = {name: found[name].to(mine[name].dtype) for name in fits}
        net["model"].load_state_dict(mine | fitted)
        print(f"{len(fitted)} of {len(mine)} tensors from {a.warm.name}", flush=True)
    sampling = pairs.Settings(**{**getattr(module, "PAIRS", {}), **_told(a.pairs)})
    settings = train.Settings(
        a.steps, a.batch, ema=0.999, clip=20.0, warmup=min(500, a.steps // 20), log_every=a.log_every, save_every=a.save_every,
        minutes=a.minutes, threads=a.threads,
    )  # fmt: skip
    name = f"{a.system}-{a.size}"
    held = None if hasattr(module.System, "reenact") else held_out(pack, sampling)
    watch = Watcher(a.system, config, a.out / f"{name}.safetensors", held)
    train.run(
        net, module.training(config), pairs.batches(pack, sampling, a.batch, 1), settings, a.out / name, watch,
        {"system": a.system, "config": config, "pairs": sampling, "pack": a.pack.name},
    )  # fmt: skip


def _told(words: list[str]) -> dict[str, Any]:
    """NAME=JSON pairs; lists as tuples."""
    values = {name: json.loads(value) for name, value in (word.split("=", 1) for word in words)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system")
    parser.add_argument("--pack", type=Path, default=ROOT / "out" / "oneshot" / "pack.safetensors")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "oneshot")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--warm", type=Path, help="a file of a smaller size to start from")
    parser.add_argument("--minutes", type=float, default=0, help="leave off, saved, after so many")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--pairs", action="append", default=[], help="NAME=JSON of `pairs.Settings`")
    parser.add_argument("--set", action="append", default=[], help="NAME=JSON of the system's Config")
    main(parser.parse_args())
