"""How long the networks of the trained systems take a face in each engine, and how near the engines are to torch.

    python benchmarks/export.py [--systems deepfakes df] [--threads 1 2] [--batches 1 8] [--rounds 5] [--out out/export]

Networks of the default size (comb 128) with random weights: speed doesn't ask what they have learnt. The differences do, as what
is drawn at random is nearly grey: name the folder of a trained model in place of a system. Each is exported once, to OUT. All
engines take turns in every round of one run, so that a noisy machine is noisy for all. Milliseconds a face: the best by the
clock, and the median of what the processor spent, which other programs hardly change; ratios are those of the latter to torch
in fp32. `swap` is the whole way from eight crops of 8 or 16 bits to pictures, as `mien swap` goes it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch import nn

from mien import export, image, per_person, systems
from mien.nets import engine, engines, tracing
from mien.types import Array

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "deepfakes": {}, "df": {}, "liae": {}, "faceswap_gan": {}, "comb": {"size": 128},
}  # fmt: skip
ENGINES = ("onnxruntime", "openvino", "openvino-bf16")
HEAD = (
    "| system | threads | faces at once | engine | ms a face | processor ms a face | x torch fp32 | max difference |\n"
    "|---|--:|---|---|--:|--:|--:|--:|"
)
Ask = Callable[[Array], Array]


def network(name: str) -> tuple[nn.Module, int]:
    """A system's drawing network for two people, or that of a trained model's folder, and the side of what it reads."""
    if per_person.is_model(Path(name)):
        module = systems.module(per_person.read(Path(name)).system)
        config = per_person.settled(module.Config(run=name))
        return export.plain(per_person.Cast(config, module.network).net), config.size
    module = systems.module(name)
    config = module.Config(**SETTINGS.get(name, {}))
    torch.manual_seed(0)
    net = module.network(config, 2)["model"].eval().requires_grad_(False)
    return export.plain(net.to(memory_format=torch.channels_last)), config.size


def file(name: str, net: nn.Module, size: int, folder: Path) -> Path:
    """The network's ONNX file, traced where it isn't there yet."""
    path = folder / f"{Path(name).name}.onnx"
    if not path.is_file():
        drawer = export.Drawer(net, 0)
        faces = export.trial_faces(size)
        outputs = ("rgb", "mask")[: len(drawer(faces))]
        path.write_bytes(tracing.trace(drawer, {"face": faces}, outputs).SerializeToString())
    return path


def torch_ask(net: nn.Module, dtype: torch.dtype) -> Ask:
    """Pictures in and out of torch, as `per_person` does it."""
    net = deepcopy(net).to(dtype)

    def ask(x: Array) -> Array:
        with torch.inference_mode():
            tensor = torch.from_numpy(x).to(dtype).contiguous(memory_format=torch.channels_last)
            answer: Array = net(tensor, 0, swap=True).rgb.float().numpy()
            return answer

    return ask


def engine_ask(path: Path, name: str, threads: int) -> Ask:
    """Pictures in and out of an engine."""
    opened = engines.open_in(name, path, threads)
    return lambda x: opened.run({"face": x})[0]


def timed(asks: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Best seconds by the clock and median seconds of the processor of each, all in turns; the first turn is not counted."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in asks}
    for _ in range(rounds + 1):
        for name, ask in asks.items():
            start, spent = perf_counter(), process_time()
            ask()
            seconds[name].append((perf_counter() - start, process_time() - spent))
    return {name: (min(a for a, _ in found[1:]), median(b for _, b in found[1:])) for name, found in seconds.items()}


def rows(name: str, options: argparse.Namespace) -> Iterator[Sequence[object]]:
    """A system's lines of the table."""
    net, size = network(name)
    path = file(name, net, size, options.out)
    face = engine.probe("face", (None, 3, size, size))
    for threads in options.threads:
        torch.set_num_threads(threads)
        asks = {"torch fp32": torch_ask(net, torch.float32), "torch bf16": torch_ask(net, torch.bfloat16)}
        asks |= {each: engine_ask(path, each, threads) for each in ENGINES}
        exact = asks["torch fp32"](face)
        apart = {each: float(np.abs(ask(face) - exact).max()) for each, ask in asks.items()}
        for batch in options.batches:
            x = np.repeat(face, batch, axis=0)
            yield from _lines(
                f"{Path(name).name} {size}", threads, str(batch), batch, asks, lambda ask, x=x: ask(x), options, apart
            )
        for bits in (8, 16):
            crops = list(np.random.default_rng(0).integers(0, 2**bits, (8, size, size, 3)).astype(f"uint{bits}"))
            swap = partial(swapped, crops)
            yield from _lines(
                f"{Path(name).name} {size}", threads, f"swap of 8, {bits} bits", 8, asks, swap, options, apart
            )


def swapped(crops: Sequence[Array], ask: Ask) -> list[Array]:
    """Crops to pictures, with the conversions that a swap makes."""
    rgb = (ask(image.to_tensor(crops)).transpose(0, 2, 3, 1) + 1) * np.float32(127.5)
    return [np.clip(one, 0, 255) for one in rgb]


def _lines(
    name: str, threads: int, what: str, faces: int, asks: Mapping[str, Ask], how: Callable[[Ask], Any],
    options: argparse.Namespace, apart: Mapping[str, float],
) -> Iterator[Sequence[object]]:  # fmt: skip
    found = timed({each: partial(how, ask) for each, ask in asks.items()}, options.rounds)
    first = found["torch fp32"][1]
    for each, (clock, spent) in found.items():
        figures = (f"{clock / faces * 1000:.1f}", f"{spent / faces * 1000:.1f}", f"{first / spent:.2f}")
        yield (name, threads, what, each, *figures, f"{apart[each]:.0e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", nargs="+", default=list(SETTINGS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("out/export"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(HEAD)
    for name in options.systems:
        for line in rows(name, options):
            print("|", " | ".join(map(str, line)), "|", flush=True)


if __name__ == "__main__":
    main()
