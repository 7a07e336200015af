"""Pictures in and out: nothing that belongs to a photo may be lost, and nothing broken may pass."""

from __future__ import annotations

import io
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from mien import picture, provenance
from mien.errors import InputError, OutputError
from mien.types import Array, Manifest, Region

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/' xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:RDF>"
    b"<rdf:Description rdf:about='' xmlns:dc='http://purl.org/dc/elements/1.1/' dc:source='a camera'/>"
    b"</rdf:RDF></x:xmpmeta>"
)
SUFFIXES = (".jpg", ".png", ".webp", ".tiff", ".bmp", ".avif")


def _exif(orientation: int | None = None) -> bytes:
    exif = Image.Exif()
    exif[271] = "Maker"
    exif[315] = "An artist"
    if orientation:
        exif[274] = orientation
    exif.get_ifd(0x8769).update({36867: "2020:01:02 03:04:05", 40962: 999, 33434: 0.01})
    exif.get_ifd(0x8825).update({1: "N", 2: (51.0, 28.0, 38.0)})
    return exif.tobytes()


def _smooth(depth: int = 8, height: int = 40, width: int = 60) -> Array:
    """A picture that lossy formats keep well, in which no two corners look alike."""
    y, x = np.mgrid[:height, :width] / (height, width, 1)[0]
    rgb = np.dstack([x / x.max(), y / y.max(), (x + y) / (x + y).max()])
    return (rgb * 255 + 0.5).astype(np.uint8) if depth == 8 else (rgb * 65535 + 0.5).astype(np.uint16)


def _picture(depth: int = 8, alpha: bool = False) -> picture.Picture:
    array = _smooth(depth)
    return picture.Picture(array, array[..., 0].copy() if alpha else None, SRGB, _exif(), XMP, dpi=(300, 300))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path: Path, manifest: Manifest, suffix: str, depth: int, alpha: bool) -> None:
    made, out = _picture(depth, alpha), tmp_path / f"out{suffix}"
    picture.save(out, made, manifest)
    back = picture.load(out)
    kept = depth if suffix in (".png", ".tiff") else 8
    assert (back.depth, back.width, back.height) == (kept, 60, 40)

    expected, got = made.array / (2**depth - 1), back.array / (2**kept - 1)
    if alpha and suffix in (".jpg", ".bmp"):  # these show it on white
        weight = made.array[..., :1] / (2**depth - 1)
        expected = expected * weight + 1 - weight
        assert back.alpha is None
    elif alpha:
        assert back.alpha is not None
        assert made.alpha is not None
        assert np.abs(back.alpha / (2**kept - 1) - made.alpha / (2**depth - 1)).max() < 0.01
    limit = 0.51 / 255 if suffix in (".png", ".tiff", ".bmp") else 0.04
    assert np.abs(expected - got).max() <= (0 if kept == depth and suffix in (".png", ".tiff") else limit)

    assert provenance.read(out) == manifest
    if suffix == ".bmp":  # holds no metadata
        return
    assert back.icc == SRGB
    assert back.xmp is not None
    assert b"a camera" in back.xmp
    exif = Image.Exif()
    exif.load(back.exif or b"")
    assert (exif[271], exif[315]) == ("Maker", "An artist")
    details, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
    assert (details[36867], details[40962], float(details[33434])) == ("2020:01:02 03:04:05", 60, 0.01)
    assert place[1] == "N"
    assert tuple(map(float, place[2])) == (51, 28, 38)
    if suffix not in (".webp", ".avif"):
        assert back.dpi == pytest.approx((300, 300), abs=0.01)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path: Path, manifest: Manifest, suffix: str, orientation: int) -> None:
    path, out = tmp_path / f"in{suffix}", tmp_path / "out.png"
    Image.fromarray(_smooth()).save(path, exif=_exif(orientation), quality=95)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened.convert("RGB") if suffix != ".tiff" else opened))
    loaded = picture.load(path)
    assert np.array_equal(loaded.array, expected)
    picture.save(out, loaded, manifest)
    assert np.array_equal(picture.load(out).array, expected)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_16_bits(tmp_path: Path, manifest: Manifest, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif.load(_exif(orientation))
    tilted = picture.Picture(_smooth(16), exif=exif.tobytes())
    path = tmp_path / f"in{suffix}"
    picture.save(path, tilted, manifest)
    expected = picture._upright(_smooth(16), orientation)
    assert np.array_equal(picture.load(path).array, expected)


def test_pixels_protocol() -> None:
    made = _picture()
    region = Region(10, 5, 20, 16)
    assert np.array_equal(made.rgb(region), made.array[5:21, 10:30])
    assert made.rgb(region, (10, 8)).shape == (8, 10, 3)
    changed = np.zeros((16, 20), bool)
    changed[3, 4] = True
    pasted = made.paste(region, np.full((16, 20, 3), 7, np.uint8), changed)
    different = (pasted.array != made.array).any(axis=2)
    assert np.argwhere(different).tolist() == [[8, 14]]
    assert pasted.exif == made.exif


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    grey = Image.linear_gradient("L")
    if mode == "I;16":
        source = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        source = grey.convert("RGB").convert(mode) if mode != "P" else grey.convert("RGB").quantize(256)
    path = tmp_path / ("in.tiff" if mode == "CMYK" else "in.png")
    source.save(path)
    loaded = picture.load(path)
    top = 65535 if mode == "I;16" else 255
    assert loaded.depth == (16 if mode == "I;16" else 8)
    assert loaded.array.shape == (256, 256, 3)
    assert (loaded.alpha is not None) == (mode in ("LA", "RGBA"))
    if mode != "1":
        assert np.abs(loaded.array[..., 1] / top - np.asarray(grey) / 255).max() < 0.02


def test_a_transparent_palette_keeps_its_alpha(tmp_path: Path) -> None:
    source = Image.new("P", (4, 4), 1)
    source.putpalette([255, 0, 0, 0, 255, 0])
    source.putpixel((2, 1), 0)
    source.save(tmp_path / "in.png", transparency=0)
    loaded = picture.load(tmp_path / "in.png")
    assert loaded.alpha is not None
    assert loaded.alpha[1, 2] == 0
    assert (loaded.alpha > 0).sum() == 15
    assert loaded.array[1, 2].tolist() == [255, 0, 0]


def test_a_grey_profile_is_applied_and_not_passed_on(tmp_path: Path) -> None:
    Image.linear_gradient("L").save(tmp_path / "in.jpg", icc_profile=SRGB)  # an RGB profile on grey: ignored
    loaded = picture.load(tmp_path / "in.jpg")
    assert loaded.icc is None
    assert loaded.array.shape == (256, 256, 3)


def test_the_thumbnail_of_the_old_face_is_not_passed_on(tmp_path: Path, manifest: Manifest) -> None:
    thumbnail = io.BytesIO()
    Image.fromarray(_smooth(8, 12, 16)).save(thumbnail, "JPEG")
    data = thumbnail.getvalue()
    # IFD0 with one entry (Make), IFD1 with the offset and length of the thumbnail.
    ifd0 = struct.pack("<HHHI4sI", 1, 271, 2, 3, b"Mk\0\0", 8 + 18)
    ifd1 = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 8 + 18 + 30, 514, 4, 1, len(data), 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + ifd0 + ifd1 + data
    path, out = tmp_path / "in.jpg", tmp_path / "out.jpg"
    Image.fromarray(_smooth()).save(path, exif=exif)
    assert data in path.read_bytes()
    picture.save(out, picture.load(path), manifest)
    assert data not in out.read_bytes()
    with Image.open(out) as opened:
        assert opened.getexif()[271] == "Mk"


def test_a_phones_multi_picture_jpeg_is_its_first_picture(tmp_path: Path) -> None:
    path = tmp_path / "in.jpg"
    first, second = Image.fromarray(_smooth()), Image.new("RGB", (60, 40))
    first.save(path, "MPO", save_all=True, append_images=[second], quality=95)
    loaded = picture.load(path)
    assert loaded.format == "JPEG"
    assert np.abs(loaded.array.astype(int) - _smooth()).max() < 12


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    chunks = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(9))
    packed = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _animated(path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (i * 60, 0, 0)) for i in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _cut(path: Path, keep: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    if path.stem == "deep":
        cv2.imwrite(str(path), noise.astype(np.uint16) * 257)
    else:
        Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])


BAD: list[tuple[str, Callable[[Path], Any], str]] = [
    ("missing.png", lambda path: None, "does not exist"),
    ("folder.png", lambda path: path.mkdir(), "is a folder"),
    ("empty.jpg", lambda path: path.touch(), "is empty"),
    ("text.jpg", lambda path: path.write_text("not a picture"), "is not a picture"),
    ("bomb.png", lambda path: path.write_bytes(_png_header(60_000, 60_000)), "megapixels"),
    ("big.png", lambda path: path.write_bytes(_png_header(10_001, 10_001)), "megapixels"),
    ("header.png", lambda path: path.write_bytes(_png_header(10, 10)), "truncated"),
    ("animated.webp", _animated, "holds 3 pictures"),
    ("animated.gif", _animated, "holds 3 pictures"),
    ("animated.png", _animated, "holds 3 pictures"),
    ("pages.tiff", _animated, "holds 3 pictures"),
    ("float.tiff", lambda path: Image.fromarray(np.zeros((9, 9), np.float32)).save(path), "32-bit"),
] + [
    (f"{stem}{suffix}", lambda path: _cut(path, 0.6), "truncated|not a picture")
    for stem, suffix in [("cut", s) for s in SUFFIXES] + [("deep", ".png"), ("deep", ".tiff")]
]


@pytest.mark.parametrize("name, make, says", BAD, ids=[name for name, _, _ in BAD])
def test_bad_pictures(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, make: Callable[[Path], Any], says: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(InputError, match=says) as caught:
        picture.load(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", ""), "no codec chatters"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_pictures_raise_one_kind_of_error(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    whole, damaged = tmp_path / f"whole{suffix}", tmp_path / f"damaged{suffix}"
    Image.fromarray(_smooth()).save(whole, exif=_exif(6))
    refused = 0
    for _ in range(30):
        data = bytearray(whole.read_bytes())
        for position in rng.integers(0, len(data), 8):
            data[position] = rng.integers(0, 256)
        damaged.write_bytes(data)
        try:
            picture.load(damaged)
        except InputError:
            refused += 1
    assert refused > 0 or suffix == ".bmp"


def test_output_that_cannot_be_written(tmp_path: Path, manifest: Manifest) -> None:
    made = _picture()
    (tmp_path / "file").touch()
    for out in (tmp_path / "a.xyz", tmp_path / "a", tmp_path / "no folder" / "a.png", tmp_path / "file" / "a.png"):
        with pytest.raises(OutputError) as caught:
            picture.save(out, made, manifest)
        assert "\n" not in str(caught.value)
    with pytest.raises(OutputError, match="does not fit into WEBP"):
        picture.save(tmp_path / "a.webp", picture.Picture(np.zeros((2, 17000, 3), np.uint8)), manifest)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, manifest: Manifest) -> None:
    out = tmp_path / "a.png"
    out.write_bytes(b"old")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OutputError):
            picture.save(out, picture.Picture(noise), manifest)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert out.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_names() -> None:
    assert all(picture.is_picture_name(Path(f"A{suffix.upper()}")) for suffix in SUFFIXES)
    assert not picture.is_picture_name(Path("a.mp4"))


def test_real_photos(shared: Path, tmp_path: Path, manifest: Manifest) -> None:
    photos = sorted((shared / "data/ci-set").rglob("*.jp*g"))[:4]
    assert photos
    for photo in photos:
        loaded = picture.load(photo)
        picture.save(tmp_path / "out.png", loaded, manifest)
        again = picture.load(tmp_path / "out.png")
        assert np.array_equal(again.array, loaded.array)
        assert again.icc == loaded.icc
