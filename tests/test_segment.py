"""What is in front of a face is found, and a bare face is left alone: on a real photo, in any light and size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data

from mien.compose import masks
from mien.faces import segment, texture
from mien.faces.landmarks import MeshLandmarker, Roi, roi_from_points
from mien.faces.segment import CLASSES, Parsing
from mien.picture import Picture
from mien.types import Array


@pytest.fixture(scope="module")
def astronaut() -> tuple[Array, Array]:
    """The face of scikit-image's photo with its surroundings, and its mesh."""
    rgb, roi = skimage.data.astronaut()[0:270, 90:360].copy(), Roi(135, 120, 170)
    landmarker = MeshLandmarker(threads=1)
    for _ in range(3):
        points = landmarker.landmarks(rgb, [roi])[0][0]
        roi = roi_from_points(points)
    return rgb, points


def _with_rod(rgb: Array, points: Array) -> tuple[Array, Array]:
    """The face behind an arm-like rod of its own skin's colour that ends on the mouth, and where that is."""
    skin = np.median(texture.vertex_colours(rgb, points)[texture.skin_vertices()], axis=0)
    at, width = points[13, :2], texture.eye_distance(points)
    out, rod = rgb.astype(np.float32), np.zeros(rgb.shape[:2], np.float32)
    for step in range(24):  # lit from above, so that it looks round
        side = (step / 23 - 0.5) * 0.36 * width
        a, b = at + np.array([[-1.2 * width, side - 0.1 * width], [0.15 * width, side]])
        line = np.zeros(rgb.shape[:2], np.uint8)
        cv2.line(line, a.astype(int).tolist(), b.astype(int).tolist(), 1, max(int(0.03 * width), 1))
        out[line > 0] = skin * (1.1 - 0.5 * (2 * step / 23 - 1) ** 2)
        rod = np.maximum(rod, line)
    return np.clip(out, 0, 255).astype(np.uint8), cv2.morphologyEx(rod, cv2.MORPH_CLOSE, np.ones((5, 5))) > 0


def _mesh(rgb: Array, points: Array) -> Array:
    return masks.hull(points[:468, :2], rgb.shape[:2]) > 0.99


def _middle(rgb: Array, points: Array) -> Array:
    """The face from the eyes down: no hair hangs there."""
    mask = _mesh(rgb, points)
    mask[: int(points[468:478, 1].min())] = False
    return mask


def test_a_rod_of_skin_is_hidden_and_the_rest_is_seen(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    behind, rod = _with_rod(rgb, points)
    before, after = segment.seen(rgb, points), segment.seen(behind, points)
    assert after[rod & _mesh(rgb, points)].mean() < 0.25
    far = _middle(rgb, points) & ~cv2.dilate(rod.astype(np.uint8), np.ones((25, 25))).astype(bool)
    assert np.abs(after - before)[far].mean() < 0.04


def test_a_bare_face_is_seen_in_any_light(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    for gain in (0.5, 1.0, 1.2):
        light = np.clip(rgb * np.array([1.0, 0.95, 0.85]) * gain, 0, 255).astype(np.uint8)
        assert segment.seen(light, points)[_middle(rgb, points)].mean() > 0.97, gain


def test_a_shadow_is_not_something_in_front(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    shade = cv2.GaussianBlur(np.where(np.arange(rgb.shape[1]) < points[4, 0], 0.55, 1.0)[None], (9, 1), 0)
    dark = np.rint(rgb * shade[..., None]).astype(np.uint8)
    assert segment.seen(dark, points)[_middle(rgb, points)].mean() > 0.97


def test_hair_over_the_forehead_is_not_the_face_s(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    parsing = segment.parse(rgb, points)
    height, width = rgb.shape[:2]
    hair = parsing.laid(parsing.of("hair"), width, height)
    assert hair[int(points[10, 1]) - 12, int(points[10, 0])] > 0.5, "above the forehead"
    assert hair[_middle(rgb, points)].mean() < 0.05
    assert segment.seen(rgb, points)[hair > 0.8].max() < 0.05


def test_parts_lie_where_the_mesh_has_them(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    parsing = segment.parse(rgb, points)
    height, width = rgb.shape[:2]
    assert parsing.odds.shape[0] == len(CLASSES)
    np.testing.assert_allclose(parsing.odds.sum(axis=0), 1, atol=1e-3)
    for name, vertex in {"nose": 4, "eyes": 468, "brows": 105, "lips": 17, "skin": 50}.items():
        odds = parsing.laid(parsing.of(name), width, height)
        x, y = np.rint(points[vertex, :2]).astype(int)
        assert odds[y - 1 : y + 2, x - 1 : x + 2].max() > 0.5, name


def test_deep_pictures_and_the_outside(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    behind, _ = _with_rod(rgb, points)
    seen = segment.seen(behind, points)
    assert np.allclose(segment.seen(behind.astype(np.uint16) * 257, points), seen, atol=1e-6)
    assert seen.shape == rgb.shape[:2]
    assert seen.dtype == np.float32
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert seen[:4, :4].max() == 0


def test_large_faces_give_the_same_mask_as_small_ones(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    behind, _ = _with_rod(rgb, points)
    seen = segment.seen(behind, points)
    large = cv2.resize(behind, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    half = np.array([0.5, 0.5, 0], np.float32)
    mesh = (points + half) * 3 - half
    again = cv2.resize(segment.seen(large, mesh), seen.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(again - seen).mean() < 0.02


def test_the_mask_is_steady_when_the_picture_moves_a_little(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    behind, _ = _with_rod(rgb, points)
    seen = segment.seen(behind, points)
    shift = np.array([[1, 0, 0.4], [0, 1, 0.3]])
    moved = cv2.warpAffine(behind, shift, behind.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    after = segment.seen(moved, points + np.array([0.4, 0.3, 0], np.float32))
    back = cv2.warpAffine(after, shift, seen.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    assert ((back > 0.5) ^ (seen > 0.5))[_mesh(rgb, points)].mean() < 0.02


def test_a_wider_picture_s_answer_serves_a_crop(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    behind, _ = _with_rod(rgb, points)
    whole = segment.seen(behind, points)
    x, y = 60, 50
    crop, local = behind[y:220, x:210], points - np.array([x, y, 0], np.float32)
    part = segment.seen(crop, local, segment.parse(behind, points).moved(x, y))
    np.testing.assert_allclose(part, whole[y:220, x:210], atol=1e-3)


def test_a_frame_s_answer_is_the_picture_s(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    behind, _ = _with_rod(rgb, points)
    small = segment.seen(behind, points)
    assert np.abs(segment.seen(behind, points, segment.parse_in(Picture(behind), points)) - small).mean() < 0.005
    half = np.array([0.5, 0.5, 0], np.float32)
    large, mesh = cv2.resize(behind, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC), (points + half) * 4 - half
    seen = segment.seen(large, mesh, segment.parse_in(Picture(large), mesh))
    assert np.abs(cv2.resize(seen, small.shape[::-1], interpolation=cv2.INTER_AREA) - small).mean() < 0.02


def test_cells_are_laid_where_they_belong() -> None:
    """A picture of 8 x 8 pixels seen as 4 x 4 cells of two pixels: cell (1, 2) covers pixels 4, 5 of rows 2, 3."""
    cells = np.zeros((4, 4), np.float32)
    cells[1, 2] = 1
    half = Parsing(cells[None], np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]]))
    laid = half.laid(cells, 8, 8)
    assert np.isclose(laid[2:4, 4:6], 9 / 16).all()
    assert np.isclose(laid.sum(), 4)
    np.testing.assert_allclose(half.moved(2, 1).laid(cells, 6, 7), laid[1:, 2:], atol=1e-6)
