"""What this machine can do and what is missing, in plain words."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil

from mien import __version__, provenance, weights
from mien.errors import MienError
from mien.nets import engine, engines
from mien.trust import consent, keys, protected
from mien.trust.home import home_from_environment

GIB = 2**30
OPTIONAL = {
    "ai_edge_litert": "runs MediaPipe's FaceLandmarker as landmarker (pip install 'mien[teacher]')",
    "onnxscript": "exports networks that were trained (pip install 'mien[train]')",
    "dlib": "an independent judge of identity (pip install 'mien[dlib]')",
}
HARDWARE = ("h264_nvenc", "hevc_nvenc", "h264_qsv", "h264_amf", "h264_videotoolbox")


def lines() -> Iterator[str]:
    """The report, line by line; what starts with '!' needs mending."""
    yield f"mien {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    yield f"{os.cpu_count()} cores, {memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB memory free"
    yield f"{disk.free / GIB:.1f} GiB free in this folder"
    if disk.free < GIB:
        yield "! less than 1 GiB free: a clip's chunks may not fit beside the output"
    yield from _libraries()
    yield from _accelerator()
    yield from _encoders()
    yield from _weights()
    yield from _trust(home_from_environment())


def _libraries() -> Iterator[str]:
    for name, version in provenance.versions().items():
        yield f"  {name} {version}"
    for module, use in OPTIONAL.items():
        state = "here" if importlib.util.find_spec(module) else "not installed"
        yield f"  {module} {state}: {use}"
    installed = {d.metadata["Name"].lower() for d in importlib.metadata.distributions() if d.metadata["Name"]}
    if "opencv-python" in installed:
        yield "! opencv-python is installed beside opencv-python-headless; both write cv2: pip uninstall opencv-python"


def _accelerator() -> Iterator[str]:
    import torch

    if torch.cuda.is_available():
        yield f"graphics card: {torch.cuda.get_device_name(0)}"
    else:
        yield "no graphics card that torch can use: everything runs on the processor"
    yield f"engines: {', '.join(engines.installed())}"


def _trust(home: Path) -> Iterator[str]:
    yield f"keys, consents and protected people: {home} (MIEN_HOME chooses another folder)"
    try:
        signs = f"signs as '{keys.local(home).name}'" if keys.known(home) else "its signing key is made at first use"
        count = len(consent.load(home, keys.local(home).verify).records) if consent.any_in(home) else 0
        yield f"  {signs}; {count} consents; {len(protected.read(home).entries)} protected people"
    except MienError as error:
        yield f"! {error}"


def _encoders() -> Iterator[str]:
    import av

    known = av.codec.codecs_available
    software = [name for name in ("libx264", "libx265", "libvpx-vp9", "ffv1") if name in known]
    yield f"encoders: {', '.join(software)}"
    compiled = [name for name in HARDWARE if name in known]
    usable = [name for name in compiled if _opens(name)]
    yield f"hardware encoders: {', '.join(usable) or 'none works on this machine'}"


def _opens(encoder: str) -> bool:
    """Whether a hardware encoder really starts; being compiled in says nothing."""
    import av

    context: Any = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
    context.time_base = Fraction(1, 25)
    try:
        context.open()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _weights() -> Iterator[str]:
    mirror = weights.mirror_from_environment()
    yield f"weights: package, then {weights.cache_folder()}, then MIEN_WEIGHTS ({mirror or 'not set'})"
    yield "engines for the shipped networks on one thread (measured at first use):"
    for name, card in sorted(weights.cards().items()):
        if card.shipped and card.file.endswith(".onnx"):
            yield f"  {name}: {engine.choices([name])[name]}"
    for name, card in sorted(weights.cards().items()):
        yield f"  {name}: {'here' if weights.available(name, mirror=mirror) else 'not here'} ({card.licence.split(';')[0]})"
