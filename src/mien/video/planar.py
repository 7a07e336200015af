"""A video frame that stays what the decoder gave, except where something is pasted over it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import av
import cv2
import numpy as np

from mien.types import Array, Region
from mien.video.colour import (
    FULL_RANGE,
    LUMA_WEIGHTS,
    Coding,
    likely_matrix,
    luma_from_rgb,
    region_from_rgb,
    region_to_rgb,
)

Kind = Literal["yuv", "gray", "rgb"]
SUBSAMPLING = {"420": (1, 1), "422": (1, 0), "440": (0, 1), "444": (0, 0)}


@dataclass(frozen=True)
class Layout:
    """How planes make a picture.

    kind: three planes Y Cb Cr, one plane of grey, or one H x W x 3 (or 4, with alpha) array of RGB;
    shift: log2 of the chroma subsampling across and down; coding: what the code values mean (RGB: only its depth).
    """

    kind: Kind
    coding: Coding
    shift: tuple[int, int] = (0, 0)

    @property
    def depth(self) -> int:
        return self.coding.depth


@dataclass(frozen=True, eq=False)
class Planar:
    """A frame as the decoder's own upright planes; an implementation of `mien.types.Pixels`.

    The planes are never written to: a decoder still predicts from them. `untouched` is the decoder's frame
    while nothing was pasted, so that an encoder can take it as it is.
    """

    planes: tuple[Array, ...]
    layout: Layout
    untouched: av.VideoFrame | None = None

    @property
    def width(self) -> int:
        return int(self.planes[0].shape[1])

    @property
    def height(self) -> int:
        return int(self.planes[0].shape[0])

    @property
    def depth(self) -> int:
        """Bits a channel, 8 to 16. RGB is uint8 for 8 and uint16 (full scale) above."""
        return self.layout.depth

    def rgb(self, region: Region | None = None, size: tuple[int, int] | None = None) -> Array:
        """The region (default: all) as H x W x 3; `size` = (width, height) shrinks it by area averaging."""
        region = region or Region(0, 0, self.width, self.height)
        if size is None or size == (region.width, region.height):
            return self._convert(region)
        if self.layout.kind == "yuv" and self._on_chroma_grid(region):
            return self._shrunk(region, size)._convert(Region(0, 0, *size))
        return cv2.resize(self._convert(region), size, interpolation=cv2.INTER_AREA)

    def paste(self, region: Region, rgb: Array, changed: Array) -> Planar:
        """A copy whose pixels of `region` are those of `rgb` where `changed` (H x W bool) is true.

        Luma is written where changed, chroma where a sample covers a changed pixel; everything else stays bit-exact.
        """
        assert rgb.shape == (region.height, region.width, 3)
        assert changed.shape == rgb.shape[:2]
        assert changed.dtype == np.bool_
        planes = tuple(plane.copy() for plane in self.planes)
        if self.layout.kind == "yuv":
            region_from_rgb(planes, self.layout.shift, self.layout.coding, region, rgb, changed)
        elif self.layout.kind == "gray":
            luma_from_rgb(planes[0], self.layout.coding, region, rgb, changed)
        else:
            planes[0][region.slices][changed, :3] = rgb[changed]
        return Planar(planes, self.layout)

    def luma(self) -> Array:
        """How light every pixel is: uint8, H x W; the luma plane's own code values, cut to 8 bits."""
        first = self.planes[0] if self.layout.kind != "rgb" else self.planes[0][..., :3]
        plane = first if self.depth == 8 else (first >> (self.depth - 8)).astype(np.uint8)
        return plane if plane.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(plane), cv2.COLOR_RGB2GRAY)

    def with_luma(self, shift: Array) -> Planar:
        """A copy that is lighter by `shift` (int8, H x W; 255 from black to white at any depth). Chroma stays bit-exact."""
        first, *others = self.planes
        step = 1.0 if self.depth == 8 else 257.0  # RGB values a code value of 8 bits
        if self.layout.kind == "rgb":
            still = [np.zeros_like(shift)] * (first.shape[2] - 3)  # alpha
            return Planar((_added(first, cv2.merge([shift] * 3 + still), step), *others), self.layout)
        step *= float(self.layout.coding.from_rgb()[1:4].sum())
        lighter = np.minimum(_added(first, shift, step), first.dtype.type((1 << self.depth) - 1))
        return Planar((lighter, *others), self.layout)

    def _on_chroma_grid(self, region: Region) -> bool:
        across, down = (1 << shift for shift in self.layout.shift)
        right, bottom = region.x + region.width, region.y + region.height
        return (
            region.x % across == 0
            and region.y % down == 0
            and (right % across == 0 or right == self.width)
            and (bottom % down == 0 or bottom == self.height)
        )

    def _shrunk(self, region: Region, size: tuple[int, int]) -> Planar:
        xs, ys = self.layout.shift
        rows, columns = region.slices
        chroma = (
            slice(rows.start >> ys, -(-rows.stop >> ys)),
            slice(columns.start >> xs, -(-columns.stop >> xs)),
        )
        luma, cb, cr = self.planes
        parts = (luma[rows, columns], cb[chroma], cr[chroma])
        resized = tuple(cv2.resize(part, size, interpolation=_interpolation(part, size)) for part in parts)
        return Planar(resized, replace(self.layout, shift=(0, 0)))

    def _convert(self, region: Region) -> Array:
        if self.layout.kind == "rgb":
            return np.ascontiguousarray(self.planes[0][region.slices][..., :3])
        if self.layout.kind == "yuv":
            return region_to_rgb(self.planes, self.layout.shift, self.layout.coding, region)
        gray = np.ascontiguousarray(self.planes[0][region.slices])
        if self.depth == 8 and self.layout.coding.full:
            return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
        neutral = _neutral(gray.shape, gray.dtype, self.depth)
        return region_to_rgb(
            (gray, neutral, neutral), (0, 0), self.layout.coding, Region(0, 0, region.width, region.height)
        )


def from_decoder(frame: av.VideoFrame, colour: tuple[int, int, int, int]) -> Planar:
    """A decoder's frame, without copying its planes where its format is one that `Planar` holds.

    colour: the stream's (matrix, primaries, transfer, range) in H.273 and libavutil codes, for what is said.
    Semi-planar and packed YUV are unpacked, palettes and BGR become RGB(A): no sample changes its value.
    """
    full = colour[3] == FULL_RANGE or frame.format.name.startswith("yuvj")
    matrix = colour[0] if colour[0] in LUMA_WEIGHTS else likely_matrix(frame.width, frame.height)
    name = _canonical(frame)
    same = name == frame.format.name
    plain = (
        frame
        if name == frame.format.name.replace("yuvj", "yuv")
        else frame.reformat(format=name, src_color_range=colour[3], dst_color_range=colour[3])
    )
    components = frame.format.components
    depth = max(component.bits for component in components[:3]) if not frame.format.has_palette else 8
    kind: Kind = "rgb" if name.startswith("rgb") else "gray" if name.startswith("gray") else "yuv"
    coding = Coding(matrix, full, 16 if kind == "rgb" and depth > 8 else depth)
    layout = Layout(kind, coding, SUBSAMPLING[name[3:6]] if kind == "yuv" else (0, 0))
    planes = tuple(_plane(plain, index) for index in range(len(plain.planes)))
    return Planar(planes, layout, frame if same else None)


def to_frame(pixels: Planar, pix_fmt: str) -> av.VideoFrame:
    """An encoder's frame in `pix_fmt`; where that is the planes' own format, every sample is kept."""
    layout = pixels.layout
    if layout.kind == "yuv":
        shift = "".join(key for key, value in SUBSAMPLING.items() if value == layout.shift)
        name = f"yuv{shift}p" + (f"{layout.depth}le" if layout.depth > 8 else "")
        if pixels.untouched is not None and name == pix_fmt:
            return pixels.untouched
        return _as(_build(pixels.planes, name), pix_fmt, layout)
    if layout.kind == "gray" and pix_fmt.startswith("yuv"):
        shape = (-(-pixels.height // 2), -(-pixels.width // 2))
        neutral = _neutral(shape, pixels.planes[0].dtype, layout.depth)
        name = "yuv420p" + (f"{layout.depth}le" if layout.depth > 8 else "")
        return _as(_build((pixels.planes[0], neutral, neutral), name), pix_fmt, layout)
    if layout.kind == "gray":
        return _as(_build(pixels.planes, "gray" + (f"{layout.depth}le" if layout.depth > 8 else "")), pix_fmt, layout)
    name = ("rgb" if pixels.planes[0].shape[2] == 3 else "rgba") + {8: ("24", ""), 16: ("48le", "64le")}[layout.depth][
        pixels.planes[0].shape[2] - 3
    ]
    return _as(_build(pixels.planes, name), pix_fmt, layout)


def _as(frame: av.VideoFrame, pix_fmt: str, layout: Layout) -> av.VideoFrame:
    """Convert where the encoder cannot take the format: YUV keeps its matrix and range, RGB becomes limited YUV."""
    if frame.format.name == pix_fmt:
        return frame
    if not pix_fmt.startswith("yuv") or layout.kind != "rgb":
        colour_range = 2 if layout.coding.full or not pix_fmt.startswith("yuv") else 1
        return frame.reformat(format=pix_fmt, src_color_range=colour_range, dst_color_range=colour_range)
    return frame.reformat(format=pix_fmt, dst_colorspace=layout.coding.matrix, dst_color_range=1)


def _canonical(frame: av.VideoFrame) -> str:
    """The format of planes that holds every sample of the frame's own format."""
    source = frame.format
    name = source.name.replace("yuvj", "yuv").removesuffix("le")
    bits = max(component.bits for component in source.components[:3]) if not source.has_palette else 8
    suffix = f"{bits}le" if bits > 8 else ""
    if source.has_palette or source.is_rgb:
        alpha = source.has_palette or any(component.is_alpha for component in source.components)
        return ("rgba" if alpha else "rgb24") if bits == 8 else ("rgba64le" if alpha else "rgb48le")
    if name.startswith(("gray", "ya", "mono")) or len(source.components) < 3:
        return f"gray{suffix}"
    if name.startswith("yuv") and name[3:6] in SUBSAMPLING and name[6:7] == "p":
        return f"yuv{name[3:6]}p{suffix}"
    across, down = (
        frame.width / max(source.chroma_width(frame.width), 1),
        frame.height / source.chroma_height(frame.height),
    )
    key = "420" if down > 1.5 else "422" if across > 1.5 else "444"
    return f"yuv{key}p{suffix}"


def _plane(frame: av.VideoFrame, index: int) -> Array:
    """A read-only view of one plane: rows x columns, or rows x columns x channels for packed RGB."""
    plane = frame.planes[index]
    packed = frame.format.name.startswith("rgb")
    depth = frame.format.components[0].bits
    dtype = np.dtype(np.uint8 if depth == 8 else np.uint16)
    channels = len(frame.format.components) if packed else 1
    rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)[:, : plane.width * channels]
    view = rows.reshape(plane.height, plane.width, channels) if packed else rows
    view.flags.writeable = False
    return view


def _build(planes: tuple[Array, ...], name: str) -> av.VideoFrame:
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], name)
    for index, values in enumerate(planes):
        plane = frame.planes[index]
        target = np.frombuffer(memoryview(plane), values.dtype).reshape(plane.height, -1)
        target[:, : values[0].size] = values.reshape(values.shape[0], -1)
    return frame


def _added(plane: Array, shift: Array, step: float) -> Array:
    """plane + step * shift, rounded, inside the dtype's range."""
    kind = cv2.CV_8U if plane.dtype == np.uint8 else cv2.CV_16U
    return cv2.addWeighted(plane, 1, shift, step, 0, dtype=kind)


def _interpolation(part: Array, size: tuple[int, int]) -> int:
    shrinks = part.shape[1] >= size[0] and part.shape[0] >= size[1]
    return cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR


def _neutral(shape: tuple[int, ...], dtype: np.dtype, depth: int) -> Array:
    return np.full(shape, 1 << (depth - 1), dtype)
