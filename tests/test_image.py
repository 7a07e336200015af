"""The converter and the resamplers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mien import image
from mien.types import Array


@pytest.mark.parametrize("dtype, depth", [(np.uint8, 8), (np.uint16, 16)])
def test_every_value_survives_floats_and_tensors(dtype: type, depth: int) -> None:
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    picture = np.repeat(values.reshape(16, -1, 1), 3, axis=2)
    assert np.array_equal(image.from_float(image.to_float(picture), depth), picture)
    tensor = image.to_tensor([picture, picture[::-1]])
    assert tensor.shape == (2, 3, *picture.shape[:2])
    assert (tensor.min(), tensor.max()) == (-1, 1)
    back = image.from_tensor(tensor, depth)
    assert np.array_equal(back[0], picture)
    assert np.array_equal(back[1], picture[::-1])


def test_srgb_curve_is_the_standard_and_its_own_inverse() -> None:
    encoded = np.linspace(0, 1, 1001, dtype=np.float32)
    assert image.to_linear(np.float32(0.5)) == pytest.approx(0.21404, abs=1e-5)
    assert np.abs(image.to_srgb(image.to_linear(encoded)) - encoded).max() < 1e-6


@pytest.mark.parametrize("transfer", ["pq", "hlg"])
def test_hdr_becomes_a_viewable_picture(transfer: image.Transfer) -> None:
    ramp = np.repeat(np.linspace(0, 65535, 256).astype(np.uint16)[None, :, None], 3, axis=2)
    grey = image.to_8bit(ramp, transfer)[0]
    assert grey.dtype == np.uint8
    assert np.ptp(grey.astype(int), axis=1).max() <= 1, "grey stays grey"
    assert (np.diff(grey[:, 1].astype(int)) >= 0).all(), "brighter stays brighter"
    # Graphics white (203 cd/m2) is code 0.58 in PQ and 0.75 in HLG (BT.2408, table 1).
    white = grey[round(255 * {"pq": 0.58, "hlg": 0.75}[transfer]), 1]
    assert 215 <= white <= 240
    assert grey[0, 1] == 0


def test_sdr_of_16_bits_only_loses_bits() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (9, 7, 3), dtype=np.uint16)
    assert np.array_equal(image.to_8bit(deep), np.round(deep / 257).astype(np.uint8))


def test_shrinking_averages_areas() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    expected = picture.reshape(10, 4, 15, 4, 3).mean(axis=(1, 3))
    assert np.abs(image.resize(picture, (15, 10)) - expected).max() <= 0.5 + 1e-6
    assert image.resize(picture, (60, 40)) is picture


def _checkerboard() -> Array:
    """Black and white pixels in turn: whatever skips pixels shows moire, whatever averages shows grey."""
    board = (np.indices((640, 800)).sum(axis=0) % 2 * 255).astype(np.uint8)
    return np.repeat(board[..., None], 3, axis=2)


def test_a_shrinking_warp_does_not_alias_where_the_plain_one_does() -> None:
    board = _checkerboard()
    matrix = cv2.getRotationMatrix2D((400, 320), 11, 0.23)
    matrix[:, 2] += (-400 + 64, -320 + 64)
    plain = cv2.warpAffine(board, matrix, (128, 128), borderMode=cv2.BORDER_REPLICATE)
    inside = (slice(20, 108), slice(20, 108))
    filtered = image.warp(board, matrix, (128, 128))
    assert plain[inside].std() > 20
    assert filtered[inside].std() < 4
    assert abs(float(filtered[inside].mean()) - 127.5) < 2


@pytest.mark.parametrize("scale", [0.69, 0.5, 0.31, 0.1])
def test_a_shrinking_warp_puts_everything_in_its_place(scale: float) -> None:
    y, x = np.mgrid[:600, :800].astype(np.float32)
    coordinates = np.dstack([x, y, x + y])
    matrix = cv2.getRotationMatrix2D((350, 280), 17, scale)
    matrix[:, 2] += (-350 + 24, -280 + 24)
    crop = image.warp(coordinates, matrix, (48, 48))
    inverse = cv2.invertAffineTransform(matrix)
    v, u = np.mgrid[:48, :48]
    expected = np.stack([u, v, np.ones_like(u)], -1) @ inverse.T
    inside = ((expected > 20) & (expected < (780, 580))).all(axis=2)
    assert inside.sum() > 200
    assert np.abs(crop[..., :2] - expected)[inside].max() < 0.15, "pixels of the frame"


def test_a_warp_that_does_not_shrink_is_opencvs() -> None:
    picture = np.random.default_rng(0).integers(0, 65536, (50, 60, 3), dtype=np.uint16)
    matrix = np.array([[1.1, 0.2, -5], [-0.2, 1.1, 3]])
    expected = cv2.warpAffine(picture, matrix, (40, 30), borderMode=cv2.BORDER_REPLICATE)
    assert np.array_equal(image.warp(picture, matrix, (40, 30)), expected)


def test_a_crop_beyond_the_frame_is_its_border() -> None:
    picture = np.full((100, 100, 3), 200, np.uint8)
    far = np.array([[0.3, 0, -300.0], [0, 0.3, -300.0]])
    assert (image.warp(picture, far, (20, 20)) == 200).all()
    assert (image.warp(picture, far, (20, 20), border="black") == 0).all()
