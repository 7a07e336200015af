"""Meshes: regions, index maps, the shipped network and its teacher."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from mien import weights
from mien.errors import SettingsError, WeightsError
from mien.faces import landmarks, topology
from mien.faces.landmarks import FakeLandmarker, MeshLandmarker, Roi, TeacherLandmarker
from mien.nets.mesh import MeshNet
from mien.types import Detection

SHARED = Path(__file__).parents[1].parent / "shared"
ASTRONAUT = Roi(225, 118, 190, 0)
"""The face of the picture that scikit-image carries."""


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def ours() -> MeshLandmarker:
    return MeshLandmarker()


@pytest.fixture(scope="module")
def mesh(ours: MeshLandmarker, astronaut: np.ndarray) -> np.ndarray:
    return settled(ours, astronaut, ASTRONAUT)


def settled(landmarker: landmarks.Landmarker, rgb: np.ndarray, roi: Roi) -> np.ndarray:
    points = landmarker.landmarks(rgb, [roi])[0][0]
    return landmarker.landmarks(rgb, [landmarks.roi_from_points(points)])[0][0]


def eye_distance(points: np.ndarray) -> float:
    return float(np.linalg.norm(points[473, :2] - points[468, :2]))


def test_a_region_maps_there_and_back() -> None:
    roi = Roi(100.3, 57.2, 80, 25)
    points = np.random.default_rng(0).uniform(0, 200, (20, 3))
    crop = points.copy()
    crop[:, :2] = points[:, :2] @ roi.to_crop(128)[:, :2].T + roi.to_crop(128)[:, 2]
    crop[:, 2] *= 128 / 80
    np.testing.assert_allclose(roi.to_picture(crop, 128), points, atol=1e-4)


def test_a_region_is_turned_like_the_head() -> None:
    """A clockwise head: its crown lies to the right of its chin, and at the top of the crop."""
    crown = np.array([100 + 30 * np.sin(np.radians(30)), 100 - 30 * np.cos(np.radians(30))])
    matrix = Roi(100, 100, 128, 30).to_crop(128)
    np.testing.assert_allclose(matrix[:, :2] @ crown + matrix[:, 2], [63.5, 33.5], atol=1e-9)


@pytest.mark.parametrize("angle", [-120.0, -20.0, 0.0, 35.0, 179.0])
def test_the_fake_answers_the_region_it_was_given(angle: float) -> None:
    roi = Roi(200, 150, 120, angle)
    points, presence = FakeLandmarker().landmarks(np.zeros((9, 9, 3), np.uint8), [roi])
    assert points.shape == (1, 478, 3)
    assert presence.tolist() == [1]
    again = landmarks.roi_from_points(points[0])
    assert (again.cx, again.cy, again.size) == pytest.approx((roi.cx, roi.cy, roi.size), abs=1e-2)
    assert (again.angle - roi.angle + 180) % 360 - 180 == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("angle", [0.0, 20.0, -160.0])
def test_detection_and_mesh_ask_for_the_same_region(angle: float) -> None:
    points = FakeLandmarker().landmarks(np.zeros((9, 9, 3), np.uint8), [Roi(200, 150, 120, angle)])[0][0]
    roi = landmarks.roi_from_detection(Detection((0, 0, 1, 1), 1.0, topology.five(points)[:, :2]))
    assert roi.size == pytest.approx(120, rel=0.1)
    assert np.hypot(roi.cx - 200, roi.cy - 150) < 0.06 * 120
    assert (roi.angle - angle + 180) % 360 - 180 == pytest.approx(0, abs=1)


def test_the_mirror_swaps_left_and_right() -> None:
    assert (topology.MIRROR[topology.MIRROR] == np.arange(478)).all()
    flipped = topology.CANONICAL * [-1, 1, 1]
    np.testing.assert_allclose(flipped[topology.MIRROR[:468]], topology.CANONICAL, atol=1e-9)
    for left, right in (("LEFT_EYE", "RIGHT_EYE"), ("LEFT_BROW", "RIGHT_BROW"), ("LEFT_IRIS", "RIGHT_IRIS")):
        assert set(topology.MIRROR[list(getattr(topology, left))]) == set(getattr(topology, right))
    for ring in (topology.OVAL, topology.LIPS_OUTER, topology.LIPS_INNER):
        assert set(topology.MIRROR[list(ring)]) == set(ring)


def test_the_rings_follow_edges_of_the_mesh() -> None:
    edges = {frozenset(e) for t in topology.TRIANGLES.tolist() for e in ((t[0], t[1]), (t[1], t[2]), (t[2], t[0]))}
    for ring in (topology.OVAL, topology.LIPS_OUTER, topology.LIPS_INNER, topology.LEFT_EYE, topology.RIGHT_EYE):
        closed = zip(ring, ring[1:] + ring[:1], strict=True)
        assert all(frozenset(edge) in edges for edge in closed)


def test_triangles_face_the_camera_and_cover_the_texture() -> None:
    a, b, c = (topology.CANONICAL[topology.TRIANGLES[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).mean() > 0.98
    assert topology.TRIANGLES.shape == (898, 3)
    assert topology.UV.min() >= 0
    assert topology.UV.max() <= 1


def test_68_points_lie_where_their_names_say() -> None:
    points = topology.to_68(FakeLandmarker().landmarks(np.zeros((9, 9, 3), np.uint8), [Roi(0, 0, 100)])[0])[0]
    assert points.shape == (68, 3)
    assert points[:17, 1].argmax() == 8  # the chin is the lowest of the jaw
    assert points[36, 0] < points[39, 0] < points[42, 0] < points[45, 0]  # eyes, from left to right
    assert points[48, 0] < points[57, 0] < points[54, 0]  # mouth
    assert (points[17:27, 1] < points[36:48, 1].min()).all()  # brows above eyes


def test_the_network_finds_a_real_face(mesh: np.ndarray) -> None:
    """Hand-read places of the astronaut's eyes, nose tip and mouth corners."""
    by_eye = [[203, 101], [246, 103], [223, 127], [201, 139], [246, 141]]
    error = np.linalg.norm(topology.five(mesh)[:, :2] - by_eye, axis=1)
    assert error.max() < 4, error
    assert mesh[topology.NOSE_TIP, 2] < mesh[234, 2]  # the nose is nearer than the ear
    assert mesh.dtype == np.float32


def test_presence_tells_faces_from_walls(ours: MeshLandmarker, astronaut: np.ndarray) -> None:
    _, presence = ours.landmarks(astronaut, [ASTRONAUT, Roi(430, 150, 150), Roi(230, 400, 180)])
    assert presence[0] > 0.9
    assert presence[1:].max() < 0.2


def test_the_eyes_are_looked_at_once_more(astronaut: np.ndarray, mesh: np.ndarray) -> None:
    once = settled(MeshLandmarker(closer=False), astronaut, ASTRONAUT)
    moved = np.linalg.norm(mesh - once, axis=1) / eye_distance(once)
    assert 0.005 < moved[[468, 473]].max() < 0.15
    assert moved[list(topology.LIPS_OUTER)].max() < 0.02


def test_many_faces_are_like_one_by_one(ours: MeshLandmarker, astronaut: np.ndarray) -> None:
    rois = [Roi(225 + i, 118, 190, i) for i in range(19)]
    points, presence = ours.landmarks(astronaut, rois)
    assert points.shape == (19, 478, 3)
    for i in (0, 17):
        one, there = ours.landmarks(astronaut, [rois[i]])
        np.testing.assert_allclose(points[i], one[0], atol=1e-3)
        np.testing.assert_allclose(presence[i], there[0], atol=1e-5)
    none, nobody = ours.landmarks(astronaut, [])
    assert none.shape == (0, 478, 3)
    assert nobody.shape == (0,)


def test_a_rotated_picture_gives_the_rotated_mesh(
    ours: MeshLandmarker, astronaut: np.ndarray, mesh: np.ndarray
) -> None:
    """A quarter turn is exact in pixels and the region turns along: the crop is the same one."""
    turned = np.ascontiguousarray(np.rot90(astronaut, -1))  # clockwise
    height = astronaut.shape[0]
    roi = landmarks.roi_from_points(mesh)
    upright = ours.landmarks(astronaut, [roi])[0][0]
    found = ours.landmarks(turned, [Roi(height - 1 - roi.cy, roi.cx, roi.size, roi.angle + 90)])[0][0]
    expected = np.stack([height - 1 - upright[:, 1], upright[:, 0], upright[:, 2]], axis=1)
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_the_flipped_picture_gives_the_flipped_mesh(
    ours: MeshLandmarker, astronaut: np.ndarray, mesh: np.ndarray
) -> None:
    width = astronaut.shape[1]
    roi = landmarks.roi_from_points(mesh)
    flipped = np.ascontiguousarray(astronaut[:, ::-1])
    found = ours.landmarks(flipped, [Roi(width - 1 - roi.cx, roi.cy, roi.size, -roi.angle)])[0][0]
    found = (found * [-1, 1, 1] + [width - 1, 0, 0])[topology.MIRROR]
    error = np.linalg.norm(found[:, :2] - mesh[:, :2], axis=1).mean() / eye_distance(mesh)
    assert error < 0.04


def test_the_network_has_the_size_it_promises() -> None:
    card = weights.cards()["mesh"]
    assert weights.find("mesh").stat().st_size == card.size <= 2 * 1024**2
    assert sum(p.numel() for p in MeshNet().parameters()) < 950_000


def test_the_torch_network_has_its_shapes_and_a_basis_of_meshes() -> None:
    net = MeshNet().eval()
    face = FakeLandmarker().landmarks(np.zeros((9, 9, 3), np.uint8), [Roi(63.5, 63.5, 128, a) for a in range(-60, 61)])[
        0
    ]
    net.set_basis(face)
    with torch.no_grad():
        points, presence = net(torch.zeros(2, 3, 128, 128))
        net.code.weight.zero_()
        net.code.bias.zero_()
        mean, _ = net(torch.zeros(1, 3, 128, 128))
    assert points.shape == (2, 478, 3)
    assert presence.shape == (2,)
    np.testing.assert_allclose(mean[0].numpy(), face.mean(axis=0), atol=1e-3)


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "mesh.onnx"
    broken.write_bytes(b"not a network")
    for make in (lambda: MeshLandmarker(broken), lambda: TeacherLandmarker(broken)):
        with pytest.raises((WeightsError, SettingsError)) as caught:
            make()
        assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="choose from"):
        landmarks.default_landmarker("nobody")


def test_the_default_is_the_shipped_network() -> None:
    assert isinstance(landmarks.default_landmarker(), MeshLandmarker)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared photos and weights are not beside the checkout")
def test_the_network_agrees_with_its_teacher(ours: MeshLandmarker, astronaut: np.ndarray, mesh: np.ndarray) -> None:
    pytest.importorskip("ai_edge_litert", reason="the teacher needs ai-edge-litert")
    teacher = landmarks.default_landmarker("teacher", mirror=SHARED / "weights")
    theirs = settled(teacher, astronaut, ASTRONAUT)
    error = np.linalg.norm(mesh[:, :2] - theirs[:, :2], axis=1).mean() / eye_distance(theirs)
    assert error < 0.06
