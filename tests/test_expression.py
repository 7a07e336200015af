"""What a face does, from its mesh: on real photos, on heads that are turned, and with eyes that look somewhere known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import portraits
from heads import mesh as head
from mien import geometry, picture, weights
from mien.faces import expression, topology
from mien.faces.expression import EYE_CENTRE, EYE_RADIUS, EYES, NAMES, Expression
from mien.faces.landmarks import MeshLandmarker, Roi, roi_from_points
from mien.nets.expression import ExpressionNet
from mien.types import Array, Pose

ASTRONAUT = Roi(225, 118, 190, 0)


def settled(rgb: Array, roi: Roi) -> Array:
    landmarker = MeshLandmarker(threads=1)
    first = landmarker.landmarks(rgb, [roi])[0][0]
    return landmarker.landmarks(rgb, [roi_from_points(first)])[0][0]


@pytest.fixture(scope="module")
def astronaut() -> Array:
    return settled(portraits.astronaut(), ASTRONAUT)


@pytest.fixture(scope="module")
def composite() -> Array:
    """A composite face of the bank, which is neutral and looks into the lens."""
    rgb = picture.load(portraits.composite(1)).rgb()
    height, width = rgb.shape[:2]
    return settled(rgb, Roi(width / 2, height / 2, 0.9 * min(height, width)))


def turned(points: Array, pose: Pose) -> Array:
    """The mesh turned about its own middle."""
    middle = points.mean(axis=0)
    return ((points - middle) @ geometry.rotation_of(pose).T + middle).astype(np.float32)


def looking(points: Array, yaw: float, pitch: float) -> Array:
    """The mesh with both pupils where an eyeball that looks along (yaw, pitch) has them."""
    out, heads = points.copy(), expression.frontal(points[None])
    y, p = np.radians([yaw, pitch])
    way = np.array([np.sin(y) * np.cos(p), np.sin(p), -np.cos(y) * np.cos(p)])
    for (corners, pupil, outwards), iris in zip(EYES.values(), (topology.LEFT_IRIS, topology.RIGHT_IRIS), strict=True):
        middle = points[list(corners)].mean(axis=0)
        centre = heads.rotations[0] @ (np.array(EYE_CENTRE) * [outwards, 1, 1])
        out[list(iris)] += middle + heads.scales[0] * (centre + EYE_RADIUS * way) - points[pupil]
    return out


def test_a_smile_is_one(astronaut: Array, composite: Array) -> None:
    """The astronaut smiles with her teeth showing, the composite face doesn't."""
    smile, plain = expression.read(astronaut), expression.read(composite)
    for side in ("Left", "Right"):
        assert smile.blendshapes[f"mouthSmile{side}"] > 0.5
        assert plain.blendshapes[f"mouthSmile{side}"] < 0.3
        assert plain.blendshapes[f"eyeBlink{side}"] < 0.4
    assert smile.openness[2] > plain.openness[2] + 0.05
    assert "mouthSmileLeft" in dict(smile.strongest(5))


def test_shapes_and_ranges(astronaut: Array, composite: Array) -> None:
    both = np.stack([astronaut, composite])
    shapes = expression.blendshapes(both)
    assert shapes.shape == (2, 52) == (2, len(NAMES))
    assert shapes.dtype == np.float32
    assert shapes.min() >= 0
    assert shapes.max() <= 1
    assert expression.gaze(both).shape == (2, 3, 2)
    assert expression.openness(both).shape == (2, 3)
    none = np.zeros((0, 478, 3), np.float32)
    assert expression.blendshapes(none).shape == (0, 52)
    assert expression.gaze(none).shape == (0, 3, 2)
    assert expression.openness(none).shape == (0, 3)


def test_many_faces_are_like_one_by_one(astronaut: Array, composite: Array) -> None:
    both = np.stack([astronaut, composite])
    for i, mesh in enumerate(both):
        one = expression.read(mesh)
        assert isinstance(one, Expression)
        np.testing.assert_allclose(list(one.blendshapes.values()), expression.blendshapes(both)[i], atol=1e-5)
        np.testing.assert_allclose(one.gaze, expression.gaze(both)[i], atol=1e-9)
        np.testing.assert_allclose(one.openness, expression.openness(both)[i], atol=1e-9)


def test_place_size_and_roll_change_nothing(astronaut: Array) -> None:
    moved = turned(astronaut, Pose(0, 0, 30)) * np.float32(2.5) + np.float32([40, -20, 0])
    np.testing.assert_allclose(expression.blendshapes(moved[None]), expression.blendshapes(astronaut[None]), atol=2e-3)
    np.testing.assert_allclose(expression.openness(moved[None]), expression.openness(astronaut[None]), atol=1e-4)


@pytest.mark.parametrize("pose", [Pose(35, 0, 0), Pose(-35, 10, 0), Pose(0, -20, 15)])
def test_turning_the_head_changes_neither_openness_nor_gaze_in_the_head(astronaut: Array, pose: Pose) -> None:
    away = turned(astronaut, pose)
    np.testing.assert_allclose(expression.openness(away[None]), expression.openness(astronaut[None]), atol=1e-4)
    eyes = looking(astronaut, 0, 0)
    heads = expression.frontal(eyes[None])
    way = heads.rotations[0] @ expression.frontal(away[None]).rotations[0].T
    assert way.shape == (3, 3)
    moved = expression.gaze(turned(eyes, pose)[None], in_head=True)[0, 2]
    np.testing.assert_allclose(moved, expression.gaze(eyes[None], in_head=True)[0, 2], atol=1.5)


@pytest.mark.parametrize("yaw, pitch", [(0.0, 0.0), (20.0, 0.0), (-15.0, 10.0), (5.0, -12.0)])
@pytest.mark.parametrize("pose", [Pose(0, 0, 0), Pose(25, 0, 0), Pose(-20, 8, 10)])
def test_gaze_is_where_the_eyeballs_look(yaw: float, pitch: float, pose: Pose) -> None:
    """In the picture, however the head is turned; yaw > 0 to the picture's right, pitch > 0 down."""
    points = looking(head(pose.yaw, pose.pitch, pose.roll), yaw, pitch)
    found = expression.gaze(points[None])[0]
    np.testing.assert_allclose(found, np.tile([yaw, pitch], (3, 1)), atol=0.2)


def test_gaze_in_the_head_is_straight_when_eyes_follow_the_head() -> None:
    points = looking(head(20, 0, 0), 20, 0)
    np.testing.assert_allclose(expression.gaze(points[None], in_head=True)[0, 2], [0, 0], atol=0.3)


def test_an_iris_outside_the_eyeball_is_no_error() -> None:
    points = head()
    points[list(topology.LEFT_IRIS), 0] += 40
    found = expression.gaze(points[None])
    assert np.isfinite(found).all()
    assert 60 < found[0, 0, 0] < 90


def test_the_composite_looks_into_the_lens(composite: Array) -> None:
    assert np.abs(expression.gaze(composite[None])[0, 2]).max() < 8


def test_left_is_the_persons_own(astronaut: Array) -> None:
    """The eye on the picture's right is shut: that is the left one."""
    wink = astronaut.copy()
    for above, below in zip((386, 385, 387, 384, 388), (374, 380, 373, 381, 390), strict=True):
        wink[above] = wink[below]
    left, right, _ = expression.openness(wink[None])[0]
    assert left < 0.02 < 0.1 < right
    shapes = expression.read(wink).blendshapes
    assert shapes["eyeBlinkLeft"] > shapes["eyeBlinkRight"] + 0.2
    assert (wink[386, 0] > wink[159, 0]).all()


def test_an_opened_jaw_is_seen(composite: Array) -> None:
    gape = composite.copy().astype(np.float64)
    heads = expression.frontal(composite[None])
    lower = (
        list(topology.LIPS_INNER[1:10])
        + list(topology.LIPS_OUTER[1:10])
        + [152, 148, 377, 176, 400, 149, 378, 200, 199, 175]
    )
    gape[lower] += heads.scales[0] * heads.rotations[0] @ np.array([0.0, 1.8, 0.2])
    assert expression.openness(gape[None])[0, 2] > expression.openness(composite[None])[0, 2] + 0.2
    assert expression.read(gape).blendshapes["jawOpen"] > expression.read(composite).blendshapes["jawOpen"] + 0.2


def test_the_file_is_small_and_its_card_right() -> None:
    card = weights.cards()["expression"]
    assert weights.find("expression").stat().st_size == card.size <= 0.3 * 2**20
    assert card.licence == "Apache-2.0"


def test_the_torch_network_knows_neither_place_nor_scale() -> None:
    torch.manual_seed(0)
    net = ExpressionNet().eval()
    rng = np.random.default_rng(0)
    points = rng.normal(0, 30, (50, 146, 2)) + 200
    net.set_scale(points)
    with torch.no_grad():
        shapes = net(torch.as_tensor(points, dtype=torch.float32))
        moved = net(torch.as_tensor(points * 0.5 - 70, dtype=torch.float32))
    assert shapes.shape == (50, 52)
    torch.testing.assert_close(shapes, moved, atol=1e-4, rtol=0)
    assert net.spread.min() > 0.1


@pytest.mark.shared
def test_our_chain_agrees_with_the_teachers(shared: Path, astronaut: Array) -> None:
    """Their mesh and their blendshape network beside ours, on a photo that neither has learnt from."""
    pytest.importorskip("ai_edge_litert", reason="the teacher needs ai-edge-litert")
    from zipfile import ZipFile

    from ai_edge_litert.interpreter import Interpreter

    from mien.faces.landmarks import TeacherLandmarker

    task = shared / "weights" / "face_landmarker_v2_with_blendshapes.task"
    theirs = TeacherLandmarker(task, 1).landmarks(portraits.astronaut(), [roi_from_points(astronaut)])[0][0]
    net = Interpreter(model_content=ZipFile(task).read("face_blendshapes.tflite"), num_threads=1)
    net.allocate_tensors()
    net.set_tensor(net.get_input_details()[0]["index"], theirs[None, list(expression.READ), :2])
    net.invoke()
    said = net.get_tensor(net.get_output_details()[0]["index"]).reshape(-1)
    assert np.abs(expression.blendshapes(astronaut[None])[0] - said).mean() < 0.06
