"""Pictures in and out, with everything that belongs to them: orientation, colour profile, metadata, alpha, 16 bits.

Pillow reads and writes 8-bit pictures; it cuts 16-bit colour to 8, so those pixels go through OpenCV.
PNG and TIFF are put together here, so that both depths carry the same metadata.
"""

from __future__ import annotations

import dataclasses
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

from mien import image, provenance
from mien.errors import InputError, OutputError
from mien.trust.credentials import Seal
from mien.types import Array, Manifest, Region

FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP",
    ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".avif": "AVIF",
}  # fmt: skip
MAX_PIXELS = 100_000_000
STRIP_BYTES = 1 << 20
READABLE = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "GIF")
ORIENTATION, XMP_TAG, ICC_TAG = 274, 700, 34675
# EXIF tags that describe how the old file stored its pixels (TIFF keeps them in the same directory), and the previews.
STORAGE_TAGS = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330, 332, 338, 339}
    | {347, 513, 514, 529, 530, 531, 532, XMP_TAG, 33723, 34377, ICC_TAG}
)


@dataclass(frozen=True)
class Picture:
    """An upright photo in memory; implements `types.Pixels`.

    array: RGB, uint8 or uint16, H x W x 3; alpha: H x W of the same dtype; icc, exif, xmp: as in the file, with the
    orientation already applied; dpi: (x, y).
    """

    array: Array
    alpha: Array | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    format: str = "PNG"
    dpi: tuple[float, float] | None = None

    @property
    def width(self) -> int:
        return int(self.array.shape[1])

    @property
    def height(self) -> int:
        return int(self.array.shape[0])

    @property
    def depth(self) -> int:
        """8 or 16 bits a channel."""
        return 8 * self.array.dtype.itemsize

    def rgb(self, region: Region | None = None, size: tuple[int, int] | None = None) -> Array:
        """The region (default: all) as H x W x 3, at `size` = (width, height) where that is given."""
        part = self.array if region is None else self.array[region.slices]
        return part if size is None else image.resize(part, size)

    def paste(self, region: Region, rgb: Array, changed: Array) -> Picture:
        """A copy in which the pixels of `region` where `changed` (H x W bool) is true are those of `rgb`."""
        assert rgb.dtype == self.array.dtype, f"{rgb.dtype} pixels pasted into {self.array.dtype}"
        array = self.array.copy()
        array[region.slices][changed] = rgb[changed]
        return dataclasses.replace(self, array=array)

    def luma(self) -> Array:
        """How light every pixel is: uint8, H x W (ITU-R BT.601's weights)."""
        return cv2.cvtColor(image.to_8bit(self.array), cv2.COLOR_RGB2GRAY)

    def with_luma(self, shift: Array) -> Picture:
        """A copy whose three channels are lighter by `shift` (int8, H x W; 255 from black to white at both depths)."""
        step, kind = (1, cv2.CV_8U) if self.depth == 8 else (257, cv2.CV_16U)
        return dataclasses.replace(
            self, array=cv2.addWeighted(self.array, 1, cv2.merge([shift] * 3), step, 0, dtype=kind)
        )


def load(path: Path) -> Picture:
    """Read a jpeg, png, webp, tiff, bmp, avif or still gif, upright.

    Grey, palette and CMYK become RGB (through the profile, where there is one, to sRGB); 16 bits stay 16.
    Raises InputError for what is missing, empty, no picture, damaged, animated, of several pages, or too large.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a picture file")
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path")
    if not path.stat().st_size:
        raise InputError(f"{path} is empty; get the file anew")
    try:
        with _opened(path) as opened:
            return _decode(path, opened)
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture that mien reads (jpeg, png, webp, tiff, bmp, avif)") from error
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(path)) from error
    except provenance.DAMAGED as error:
        raise InputError(f"{path} is truncated or damaged ({_one_line(error)}); get the file anew") from error


def save(path: Path, picture: Picture, manifest: Manifest, quality: int = 95, seal: Seal | None = None) -> None:
    """Write the picture in the format of the suffix with its metadata and the manifest; all or nothing.

    quality: 1..100 for jpeg, webp, avif (webp: 100 is lossless). Only png and tiff keep 16 bits; jpeg and bmp hold no
    alpha and show the picture on white. bmp holds no metadata: its manifest goes beside it. seal: signs the manifest into
    the file, of a bmp the file beside it.
    Raises OutputError where the suffix is unknown or the file cannot be written.
    """
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise OutputError(f"{path.name}: pictures are written as {', '.join(FORMATS)}; change the suffix")
    xmp = provenance.xmp(manifest, picture.xmp)
    if form == "PNG":
        data = _png(picture, xmp)
    elif form == "TIFF":
        data = _tiff(picture, xmp)
    else:
        data = _encode(form, picture, xmp, quality)
    if seal is not None:
        data = seal.sign(data, path.suffix, manifest, provenance.source_type(manifest))
    provenance.write_bytes(path, data)
    if form == "BMP":
        provenance.write_sidecar(path, manifest, {}, seal.signer if seal else None)


def is_picture_name(path: Path) -> bool:
    """Whether the suffix is one of a picture format that mien writes."""
    return path.suffix.lower() in FORMATS


# --- reading ---


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Pillow's lazily opened file; its own size warning is off because `MAX_PIXELS` decides."""
    with warnings.catch_warnings(action="ignore"), Image.open(path, formats=READABLE) as opened:
        yield opened


def _decode(path: Path, opened: Image.Image) -> Picture:
    if opened.width * opened.height > MAX_PIXELS:
        raise InputError(_too_large(path))
    pages = getattr(opened, "n_frames", 1)
    if pages > 1 and opened.format != "MPO":  # a phone's MPO is a JPEG with previews behind it
        raise InputError(f"{path} holds {pages} pictures; save the one you want as a file of its own, or give a video")
    deep = _is_deep(path, opened)
    orientation = int(opened.getexif().get(ORIENTATION, 1))
    opened.load()  # finds truncation in any format
    if deep:
        array, alpha = _deep_pixels(path, opened)
    else:
        array, alpha = _pixels(opened)
    if opened.format != "TIFF":  # both libraries have turned a TIFF already
        array, alpha = _upright(array, orientation), None if alpha is None else _upright(alpha, orientation)
    xmp = opened.info.get("xmp") or opened.info.get("XML:com.adobe.xmp")
    dpi = opened.info.get("dpi")
    return Picture(
        array,
        alpha,
        # A profile of grey or ink does not describe the RGB made from it.
        icc=opened.info.get("icc_profile") if opened.mode in ("RGB", "RGBA", "P", "PA") else None,
        exif=_exif(opened, (array.shape[1], array.shape[0])),
        xmp=xmp.encode() if isinstance(xmp, str) else xmp,
        format="JPEG" if opened.format == "MPO" else str(opened.format),
        dpi=dpi if dpi and min(dpi) > 1 else None,  # (1, 1) is Pillow's word for a TIFF without
    )


def _is_deep(path: Path, opened: Image.Image) -> bool:
    """Whether the file holds 16-bit integers a channel, which Pillow would cut to 8."""
    if opened.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24] == 16
    if opened.format != "TIFF":
        return False
    tags = opened.tag_v2  # type: ignore[attr-defined]
    _check_extent(path, tags)
    bits, kind = max(tags.get(258, (1,))), max(tags.get(339, (1,)))
    if kind != 1 or bits > 16 or (bits == 16 and tags.get(262) not in (1, 2)):
        raise InputError(f"{path} holds {bits}-bit floats, CMYK or signed numbers; save it as 16-bit RGB")
    return bool(bits == 16)


def _check_extent(path: Path, tags: Any) -> None:
    """Refuse a TIFF whose strips or tiles lie behind the end of the file, before libtiff complains on stderr."""
    for offsets, counts in ((273, 279), (324, 325)):
        ends = map(sum, zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False))
        if max(ends, default=0) > path.stat().st_size:
            raise InputError(f"{path} is truncated; get the file anew")


def _deep_pixels(path: Path, opened: Image.Image) -> tuple[Array, Array | None]:
    flags = cv2.IMREAD_UNCHANGED  # keeps the depth and the alpha and leaves the orientation to us
    decoded = cv2.imdecode(np.fromfile(path, np.uint8), flags)
    if decoded is None or decoded.dtype != np.uint16:
        raise InputError(f"{path} holds 16-bit pixels in a form that cannot be read; save it as a plain 16-bit PNG")
    if decoded.ndim == 2:
        return np.repeat(decoded[..., None], 3, axis=2), None
    rgb = np.ascontiguousarray(decoded[..., 2::-1])
    return rgb, decoded[..., 3].copy() if decoded.shape[2] == 4 else None


def _pixels(opened: Image.Image) -> tuple[Array, Array | None]:
    alpha = np.asarray(opened.convert("RGBA").getchannel("A")) if opened.has_transparency_data else None
    return np.array(_to_rgb(opened)), alpha


def _to_rgb(opened: Image.Image) -> Image.Image:
    profile = opened.info.get("icc_profile")
    plain = opened.convert("L") if opened.mode == "LA" else opened
    if profile and plain.mode in ("L", "CMYK"):
        try:
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(plain, io.BytesIO(profile), srgb, outputMode="RGB")
            assert converted is not None
            return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # a broken profile is ignored, as every viewer does
    # Through RGBA, so that a palette's colours under full transparency survive.
    return plain.convert("RGBA").convert("RGB") if plain.has_transparency_data else plain.convert("RGB")


def _upright(pixels: Array, orientation: int) -> Array:
    """Undo the EXIF orientation 1..8 (TIFF 6.0, tag 274)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _exif(opened: Image.Image, size: tuple[int, int]) -> bytes | None:
    """The EXIF block with orientation 1 and the true size, without the thumbnail of the old picture.

    None where there is none or it cannot be written again.
    """
    try:
        exif = opened.getexif()
        for tag in STORAGE_TAGS & set(exif):
            del exif[tag]
        if not exif:
            return None
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1
        details = exif.get_ifd(ExifTags.IFD.Exif)
        for tag, length in zip((ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight), size, strict=True):
            if tag in details:
                details[tag] = length
        return exif.tobytes()
    except provenance.DAMAGED:
        return None


# --- writing ---


def _encode(form: str, picture: Picture, xmp: bytes, quality: int) -> bytes:
    """JPEG, WebP, AVIF or BMP through Pillow, 8 bits."""
    if picture.alpha is None:
        pixels = image.to_8bit(picture.array)
    elif form in ("JPEG", "BMP"):
        weight = image.to_float(picture.alpha)[..., None]
        pixels = image.from_float(image.to_float(picture.array) * weight + 1 - weight)
    else:
        pixels = image.to_8bit(np.dstack([picture.array, picture.alpha]))
    options: dict[str, Any] = {"dpi": picture.dpi} if picture.dpi else {}
    if form != "BMP":
        options |= {"quality": quality, "xmp": xmp, "icc_profile": picture.icc, "exif": picture.exif or b""}
    if form == "JPEG":
        options["subsampling"] = "4:4:4" if quality >= 90 else "4:2:0"
    if form == "WEBP":
        options |= {"exact": True, "lossless": quality == 100}
    buffer = io.BytesIO()
    try:
        Image.fromarray(pixels).save(buffer, form, **options)
    except (OSError, ValueError) as error:
        raise OutputError(f"the picture does not fit into {form} ({_one_line(error)}); write a .png") from error
    return buffer.getvalue()


def _png(picture: Picture, xmp: bytes) -> bytes:
    """OpenCV's pixels with our chunks behind the header (PNG 3rd edition, 11.3)."""
    bgr = picture.array[..., ::-1]
    pixels = bgr if picture.alpha is None else np.dstack([bgr, picture.alpha])
    done, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
    assert done, "libpng takes any uint8 or uint16 array"
    chunks = []
    if picture.icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc)))
    if picture.dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(float(dpi) / 0.0254) for dpi in picture.dpi), 1)))
    if picture.exif:
        chunks.append((b"eXIf", picture.exif.removeprefix(b"Exif\0\0")))
    chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    data = encoded.tobytes()
    header_end = 8 + 25  # the signature and IHDR
    return data[:header_end] + b"".join(packed) + data[header_end:]


def _tiff(picture: Picture, xmp: bytes) -> bytes:
    """The directory, then deflated strips with a horizontal predictor (TIFF 6.0, sections 2, 14; Adobe deflate)."""
    pixels = picture.array if picture.alpha is None else np.dstack([picture.array, picture.alpha])
    channels = pixels.shape[2]
    rows = max(1, STRIP_BYTES // (picture.width * channels * pixels.itemsize))
    strips = []
    for top in range(0, picture.height, rows):
        strip = pixels[top : top + rows].astype(pixels.dtype.newbyteorder("<"))
        strip[:, 1:] -= strip[:, :-1].copy()
        strips.append(zlib.compress(strip.tobytes(), 1))
    counts = [len(strip) for strip in strips]
    directory = _directory(picture)
    directory |= {
        256: picture.width, 257: picture.height, 258: (picture.depth,) * channels, 259: 8, 262: 2,
        273: tuple(accumulate(counts[:-1], initial=0)), 277: channels, 278: rows,
        279: tuple(counts), 284: 1, 317: 2, 339: (1,) * channels, XMP_TAG: xmp,
    }  # fmt: skip
    if picture.alpha is not None:
        directory[338] = 2  # unassociated
    if picture.icc:
        directory[ICC_TAG] = picture.icc
    written = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in directory.items():
        written[tag] = value
    # Pillow moves the offsets of the strips to behind the directory.
    return b"".join([b"II*\0", struct.pack("<I", 8), written.tobytes(8), *strips])


def _directory(picture: Picture) -> dict[int, Any]:
    """The EXIF and the resolution as TIFF tags."""
    tags: dict[int, Any] = {}
    if picture.exif:
        exif = Image.Exif()
        exif.load(picture.exif)
        tags |= dict(exif)
        for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            if directory in tags:
                tags[directory] = exif.get_ifd(directory)
    if picture.dpi:
        tags |= {282: float(picture.dpi[0]), 283: float(picture.dpi[1]), 296: 2}
    return tags


def _too_large(path: Path) -> str:
    return f"{path} has more than {MAX_PIXELS // 1_000_000} megapixels; make it smaller first"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
