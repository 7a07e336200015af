"""Numbered pictures as a clip: a folder of frame_000001.png, jpg, webp or tif, or a pattern such as shot_%04d.tif."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from mien.errors import InputError, OutputError
from mien.provenance import source_type, xmp
from mien.trust.credentials import Seal
from mien.types import Array, Manifest
from mien.video.colour import BT709, Coding
from mien.video.planar import Layout, Planar

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"))
DEEP_SUFFIXES = frozenset((".png", ".tif", ".tiff"))
RATE = Fraction(25)
DEFAULT_NAME = "frame_%06d.png"
PATTERN = re.compile(r"%0?(\d*)d")


def is_pattern(path: Path) -> bool:
    """Whether the path names numbered pictures by a pattern: its file name holds %d or %06d."""
    return PATTERN.search(path.name) is not None


def is_sequence(path: Path) -> bool:
    """Whether this is a pattern, or a folder with at least one picture with a number in its name."""
    if is_pattern(path):
        return True
    return path.is_dir() and bool(_numbered(path))


def files(path: Path) -> list[Path]:
    """The pictures in the order of their numbers. Raises InputError where there is none."""
    if is_pattern(path):
        before, digits, after = PATTERN.split(path.name)
        matcher = re.compile(re.escape(before) + rf"(\d{{{digits or 1},}})" + re.escape(after))
        folder = path.parent
        found = [entry for entry in folder.iterdir() if matcher.fullmatch(entry.name)] if folder.is_dir() else []
        found.sort(key=_number)
    else:
        found = _numbered(path)
    if not found:
        raise InputError(f"{path} holds no numbered pictures: name them like {DEFAULT_NAME % 1}")
    return found


def load(path: Path) -> Planar:
    """One picture, 8 or 16 bits a channel, with alpha where it has one. Raises InputError where it cannot be read."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    except (OSError, cv2.error) as error:
        raise InputError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path} is not a picture of 8 or 16 bits a channel, or is cut short")
    codes = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    return from_rgb(cv2.cvtColor(pixels, codes[channels]))


def from_rgb(rgb: Array) -> Planar:
    """H x W x 3 or 4 RGB(A) as `Planar`; it is encoded as BT.709 where an encoder wants YCbCr."""
    depth = 8 if rgb.dtype == np.uint8 else 16
    return Planar((rgb,), Layout("rgb", Coding(BT709, True, depth)))


def out_file(out: Path, number: int) -> Path:
    """The name of the picture with that number, for a folder or a pattern."""
    return out.with_name(out.name % number) if is_pattern(out) else out / (DEFAULT_NAME % number)


def check_suffix(path: Path) -> None:
    """Raises OutputError for a kind of picture that cannot be written."""
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: numbered pictures are {', '.join(sorted(SUFFIXES))}; name one of them")


def save(path: Path, pixels: Planar, manifest: Manifest, quality: int = 95, seal: Seal | None = None) -> None:
    """Write one picture, the manifest embedded as XMP (not in TIFF), and signed by `seal`. png and tif keep 16 bits."""
    suffix = path.suffix.lower()
    rgb = pixels.planes[0] if pixels.layout.kind == "rgb" else pixels.rgb()
    if rgb.dtype == np.uint16 and suffix not in DEEP_SUFFIXES:
        rgb = ((rgb.astype(np.uint32) + 128) // 257).astype(np.uint8)
    code = cv2.COLOR_RGBA2BGRA if rgb.shape[2] == 4 else cv2.COLOR_RGB2BGR
    options = {
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111],
        ".webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
        ".png": [cv2.IMWRITE_PNG_COMPRESSION, 3],
    }.get(".jpg" if suffix == ".jpeg" else suffix, [])
    bgr = cv2.cvtColor(rgb, code)
    if suffix in (".tif", ".tiff"):
        _, data = cv2.imencode(suffix, bgr, options)
    else:
        packet = np.frombuffer(xmp(manifest), np.uint8)
        _, data = cv2.imencodeWithMetadata(suffix, bgr, [cv2.IMAGE_METADATA_XMP], [packet], options)
    encoded = data.tobytes()
    path.write_bytes(seal.sign(encoded, suffix, manifest, source_type(manifest)) if seal else encoded)


def _numbered(folder: Path) -> list[Path]:
    found = [e for e in folder.iterdir() if e.suffix.lower() in SUFFIXES and re.search(r"\d", e.stem)]
    return sorted(found, key=_number)


def _number(path: Path) -> tuple[int, str]:
    return int(re.findall(r"\d+", path.stem)[-1]), path.name
