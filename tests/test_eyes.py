"""The closer look at the eyes, on real photos."""

from __future__ import annotations

import numpy as np
import pytest

import portraits
from mien import geometry, picture, weights
from mien.faces import expression, eyes, topology
from mien.faces.landmarks import MeshLandmarker, Roi, roi_from_points
from mien.types import Array, Pose


@pytest.fixture(scope="module")
def face() -> tuple[Array, Array]:
    """A composite face of the bank and its mesh."""
    rgb = picture.load(portraits.composite(1)).rgb()
    height, width = rgb.shape[:2]
    landmarker = MeshLandmarker(threads=1, closer=False)
    first = landmarker.landmarks(rgb, [Roi(width / 2, height / 2, 0.9 * min(height, width))])[0][0]
    return rgb, landmarker.landmarks(rgb, [roi_from_points(first)])[0][0]


def shifted(mesh: Array, x: float, y: float) -> Array:
    """The mesh with wrong eyes."""
    out = mesh.copy()
    for index in eyes.INDEX.values():
        out[list(index), :2] += np.float32([x, y])
    return out


def eye_distance(mesh: Array) -> float:
    return float(np.linalg.norm(mesh[473, :2] - mesh[468, :2]))


def area(corners: Array) -> Array:
    """Twice the signed area of triangles (N x 3 x 2)."""
    a, b = (corners[:, i] - corners[:, 0] for i in (1, 2))
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def test_the_rest_of_the_face_stays(face: tuple[Array, Array]) -> None:
    rgb, mesh = face
    found = eyes.refine(rgb, mesh[None])
    assert found.shape == (1, 478, 3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0, :, 2], mesh[:, 2])
    moved = np.linalg.norm(found[0] - mesh, axis=-1)
    assert (moved[list(topology.OVAL + topology.LIPS_OUTER + (topology.NOSE_TIP,))] == 0).all()
    assert moved[[468, 473]].min() > 0
    assert eyes.refine(rgb, mesh[None][:0]).shape == (0, 478, 3)


def test_the_skin_follows_without_folds(face: tuple[Array, Array]) -> None:
    rgb, mesh = face
    found = eyes.refine(rgb, mesh[None])[0]
    before, after = (area(points[topology.TRIANGLES, :2]) for points in (mesh, found))
    skin = ~np.isin(topology.TRIANGLES, [*eyes.INDEX["left"], *eyes.INDEX["right"]]).all(axis=1)
    facing = skin & (before < -4)  # square pixels, twice; seen from outside
    assert facing.sum() > 400
    assert (after[facing] < 0).all()


def test_small_and_hidden_eyes_stay_where_they_were(face: tuple[Array, Array]) -> None:
    rgb, mesh = face
    side = expression.frontal(mesh[None]).scales[0]
    small = (mesh * (eyes.SMALL / side * 0.9)).astype(np.float32)
    np.testing.assert_array_equal(eyes.refine(rgb, small[None])[0], small)
    turn = geometry.rotation_of(Pose(60.0, 0.0, 0.0))
    middle = mesh.mean(axis=0)
    turned = ((mesh - middle) @ turn.T + middle).astype(np.float32)
    moved = np.linalg.norm(eyes.refine(rgb, turned[None])[0] - turned, axis=-1)
    assert moved[473] == 0 < moved[468]


def test_wrong_eyes_are_put_right(face: tuple[Array, Array]) -> None:
    rgb, mesh = face
    unit = eye_distance(mesh)
    right = eyes.refine(rgb, mesh[None])[0]
    mended = eyes.refine(rgb, shifted(mesh, 0.03 * unit, -0.02 * unit)[None])[0]
    error = np.linalg.norm(mended[[468, 473], :2] - right[[468, 473], :2], axis=1)
    assert error.mean() < 0.5 * np.hypot(0.03, 0.02) * unit


def test_a_pupil_is_dark(face: tuple[Array, Array]) -> None:
    rgb, mesh = face
    found = eyes.refine(rgb, mesh[None])[0]
    for index in eyes.INDEX.values():
        x, y = np.round(found[index[16], :2]).astype(int)
        lids = found[list(index[:16]), :2]
        (x0, y0), (x1, y1) = lids.min(axis=0).astype(int), lids.max(axis=0).astype(int)
        assert (
            np.median(rgb[y - 4 : y + 5, x - 4 : x + 5]) < 0.8 * rgb[y0:y1, x0:x1].mean()
        )  # but for the light's reflection


def test_a_flipped_picture_gives_flipped_eyes(face: tuple[Array, Array]) -> None:
    rgb, mesh = face
    flip = lambda points: ((points * [-1, 1, 1]) + [rgb.shape[1] - 1, 0, 0])[topology.MIRROR].astype(np.float32)  # noqa: E731
    found = eyes.refine(np.ascontiguousarray(rgb[:, ::-1]), flip(mesh)[None])[0]
    np.testing.assert_allclose(flip(found), eyes.refine(rgb, mesh[None])[0], atol=0.5)


def test_the_composite_has_its_eyes_open(face: tuple[Array, Array]) -> None:
    rgb, mesh = face
    assert expression.openness(eyes.refine(rgb, mesh[None]))[0, :2].min() > 0.2


def test_the_file_is_small() -> None:
    card = weights.cards()["eyes"]
    assert weights.find("eyes").stat().st_size == card.size <= 0.3 * 2**20
