"""Which engine runs a network: the one that is fastest on this machine and exact enough.

The choice is measured when a file is first used and kept in the cache (`engines.json`), so that every process and every
resumed job runs the same engine. Where nothing can be kept, nothing is measured: then it is ONNX Runtime everywhere.
A lower precision is a candidate only where the file's card states what it may change (`Card.gate`).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np

from mien import weights
from mien.nets import engines
from mien.nets.engines import Network
from mien.types import Array

DEFAULT = "onnxruntime"
EXACT = ("onnxruntime", "openvino", "torch")
GAIN = 0.9
"""Another engine than the default must take less than this share of its time."""
RUNS = 15
CHOICES = "engines.json"


def load(path: Path, *, threads: int = 1, engine: str = "auto", gate: Mapping[str, float] | None = None) -> Network:
    """The network in `path` (ONNX) on the processor, in the engine called `engine`.

    threads: how many it may take. gate: output -> largest change that a lower precision may make, see `weights.Card`;
    only "auto" looks at it. Raises SettingsError for an engine that isn't there, WeightsError where the file is no network.
    """
    return engines.open_in(chosen(path, threads, gate) if engine == "auto" else engine, path, threads)


def shipped(name: str, *, threads: int = 1, engine: str = "auto", mirror: Path | None = None) -> Network:
    """The weights called `name`, verified, in the engine that suits them here. Raises WeightsError, see `weights.find`."""
    return load(weights.find(name, mirror=mirror), threads=threads, engine=engine, gate=weights.cards()[name].gate)


def choices(names: Iterable[str], *, threads: int = 1, mirror: Path | None = None) -> dict[str, str]:
    """Name -> engine for those of the weights called `names` that an engine runs."""
    cards = weights.cards()
    paths = {name: weights.find(name, mirror=mirror) for name in names if cards[name].file.endswith(".onnx")}
    return {name: chosen(path, threads, cards[name].gate) for name, path in paths.items()}


def chosen(path: Path, threads: int = 1, gate: Mapping[str, float] | None = None) -> str:
    """The name of the engine for a file on this machine: as kept in the cache, or measured now and kept."""
    kept = weights.cache_folder() / CHOICES
    key = f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}/{threads}/{_machine()}/{_digest(gate)}"
    if (known := _read(kept).get(key)) in engines.installed():
        return str(known)
    if not _writable(kept):
        return DEFAULT
    seconds = measure(path, threads, gate)
    best = min(seconds, key=lambda name: seconds[name])
    return _keep(kept, key, best if seconds[best] < GAIN * seconds[DEFAULT] else DEFAULT)


def measure(path: Path, threads: int = 1, gate: Mapping[str, float] | None = None) -> dict[str, float]:
    """Seconds that one face takes in each engine that is installed and passes the gate: the best of a few runs."""
    default = engines.open_in(DEFAULT, path, threads)
    feed = {name: probe(name, shape) for name, shape in default.inputs.items()}
    exact = default.run(feed)
    seconds = {DEFAULT: _best(default, feed)}
    for name in engines.installed():
        if name == DEFAULT or not (name in EXACT or gate):
            continue
        try:
            network = engines.open_in(name, path, threads)
            found = network.run(feed)
        except Exception:  # each engine has its own; one that can't run somebody else's file is no candidate
            continue
        if name in EXACT or _passes(found, exact, default.outputs, gate or {}):
            seconds[name] = _best(network, feed)
    return seconds


def probe(name: str, shape: tuple[int | None, ...]) -> Array:
    """What a network is tried on: a face of the package's own for a picture, small numbers for anything else.

    Pictures are RGB in [-1, 1], or BGR bytes for an input called "bgr", as detectors read them.
    """
    lengths = [1 if i == 0 else (n or 480) for i, n in enumerate(shape)]
    if len(lengths) == 4 and lengths[1] == 3:
        bgr = cv2.imread(str(next(iter(sorted((weights.ASSETS / "bank").glob("*.jpg"))))))
        assert bgr is not None
        crop = cv2.resize(bgr, (lengths[3], lengths[2]), interpolation=cv2.INTER_AREA).astype(np.float32)
        crop = crop if name == "bgr" else crop[..., ::-1] / np.float32(127.5) - 1
        return np.ascontiguousarray(crop.transpose(2, 0, 1)[None])
    return np.random.default_rng(0).normal(0, 0.5, lengths).astype(np.float32)


def _passes(found: list[Array], exact: list[Array], names: Sequence[str], gate: Mapping[str, float]) -> bool:
    """Whether each output changed by no more than its gate; one that the gate doesn't name must not change at all."""
    changes = {name: float(np.abs(a - b).max()) for name, a, b in zip(names, found, exact, strict=True)}
    return all(change <= gate.get(name, 0.0) for name, change in changes.items())


def _best(network: Network, feed: Mapping[str, Array]) -> float:
    seconds = []
    for _ in range(RUNS):
        start = perf_counter()
        network.run(feed)
        seconds.append(perf_counter() - start)
    return min(seconds)


def _machine() -> str:
    """What a choice holds for: this processor, these versions."""
    found = [platform.machine(), _processor()]
    for package in sorted(set(engines.PACKAGES.values())):
        try:
            found.append(version(package))
        except PackageNotFoundError:
            found.append("")
    return hashlib.sha256("/".join(found).encode()).hexdigest()[:12]


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _digest(gate: Mapping[str, float] | None) -> str:
    return hashlib.sha256(json.dumps(dict(gate or {}), sort_keys=True).encode()).hexdigest()[:8]


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _writable(path: Path) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(path.parent, os.W_OK)


def _keep(path: Path, key: str, choice: str) -> str:
    """Add a choice to the file and return it, or the one that another process has added meanwhile."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    known = _read(path)
    if known.get(key) in engines.installed():
        return known[key]
    try:
        part.write_text(json.dumps(known | {key: choice}, indent=1, sort_keys=True) + "\n")
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        return DEFAULT
    return choice
