"""Detectors, what wraps them, and shot cuts, on real photos."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data

from mien import weights
from mien.errors import SettingsError, WeightsError
from mien.faces.cuts import CutFinder
from mien.faces.detect import (
    Detector,
    FakeDetector,
    Rotated,
    Shrunk,
    Tiled,
    default_detector,
    iou,
    merge,
    nms,
    weights_of,
)
from mien.faces.mtcnn import Mtcnn
from mien.faces.onestage import OneStage
from mien.types import Array, Detection

SHARED = Path(__file__).parents[1].parent / "shared"
WEIGHTS = SHARED / "weights"
needs_shared = pytest.mark.skipif(not (SHARED / "data" / "ci-set").is_dir(), reason="no shared/data beside it")
FACE = (177.8, 65.8, 269.7, 176.9)
"""The astronaut's face, by eye and by YuNet."""


@pytest.fixture(scope="module")
def astronaut() -> Array:
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def mtcnn() -> Mtcnn:
    return Mtcnn()


@pytest.fixture(scope="module")
def mien() -> OneStage:
    return OneStage.known("detector", threads=1)


def overlap(detection: Detection, box: tuple[float, ...] = FACE) -> float:
    return float(iou(np.array([detection.box]), np.array([box]))[0, 0])


def found(detector: Detector, rgb: Array, boxes: Array) -> tuple[int, int]:
    """How many of the boxes were found, how many faces too many."""
    detections = detector.detect(rgb)
    if not detections or not len(boxes):
        return 0, len(detections)
    shared = iou(boxes, np.array([d.box for d in detections]))
    return int((shared.max(axis=1) > 0.3).sum()), int((shared.max(axis=0) <= 0.3).sum())


@pytest.mark.parametrize("name", ["mtcnn", "mien"])
def test_the_astronaut_is_found(name: str, astronaut: Array, request: pytest.FixtureRequest) -> None:
    (face,) = request.getfixturevalue(name).detect(astronaut)
    assert overlap(face) > 0.7
    assert face.score > 0.9
    assert face.points.dtype == np.float32
    eyes_nose_mouth = [[202.7, 104.1], [247.1, 103.9], [224.1, 127.9], [204.6, 143.9], [243.8, 143.6]]
    assert np.abs(face.points - eyes_nose_mouth).max() < 6


@pytest.mark.parametrize("name", ["mtcnn", "mien"])
def test_smallest_face_is_a_setting(name: str, astronaut: Array) -> None:
    small = cv2.resize(astronaut, (160, 160), interpolation=cv2.INTER_AREA)  # the face is about 30 px
    assert len(default_detector(name, min_face=20).detect(small)) == 1
    assert default_detector(name, min_face=80).detect(small) == []


@pytest.mark.parametrize("name", ["mtcnn", "mien"])
@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (11, 11), (13, 12), (37, 51)])
def test_tiny_pictures_have_no_face(name: str, shape: tuple[int, int], request: pytest.FixtureRequest) -> None:
    assert request.getfixturevalue(name).detect(np.full((*shape, 3), 128, np.uint8)) == []


@pytest.mark.parametrize("name", ["mtcnn", "mien"])
def test_noise_has_no_face(name: str, request: pytest.FixtureRequest) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    assert request.getfixturevalue(name).detect(noise) == []


def test_ours_finds_everybody_in_a_row() -> None:
    """Composite faces of the package side by side, from 26 to 104 px high."""
    faces = [cv2.imread(str(path))[..., ::-1] for path in sorted((weights.ASSETS / "bank").glob("*.jpg"))[:4]]
    picture = np.full((240, 640, 3), 120, np.uint8)
    for i, (face, side) in enumerate(zip(faces, (40, 70, 110, 160), strict=True)):
        picture[40 : 40 + side, 160 * i : 160 * i + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    ours = OneStage.known("detector", min_face=16, threads=1)
    assert sorted(int((d.box[0] + d.box[2]) / 2) // 160 for d in ours.detect(picture)) == [0, 1, 2, 3]


def test_both_detectors_mean_the_same_points(mtcnn: Mtcnn, mien: OneStage, astronaut: Array) -> None:
    a, b = mtcnn.detect(astronaut)[0].points, mien.detect(astronaut)[0].points
    assert np.abs(a - b).max() < 6
    assert b[0, 0] < b[1, 0], "the eye on the picture's left first"


@pytest.mark.parametrize("name", ["mtcnn", "mien"])
@pytest.mark.parametrize("turn", [cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE])
def test_rotated_brings_box_and_points_back(
    name: str, astronaut: Array, turn: int, request: pytest.FixtureRequest
) -> None:
    picture = cv2.rotate(astronaut[20:300, 60:440], turn)
    # Ours half takes a hanging head for an upright one: only all angles, and the surest face, tell.
    face = Rotated(request.getfixturevalue(name), always=name == "mien").detect(picture)[0]
    back = {cv2.ROTATE_90_CLOCKWISE: 2, cv2.ROTATE_180: 1, cv2.ROTATE_90_COUNTERCLOCKWISE: 0}[turn]
    mask = np.zeros((280, 380), np.uint8)
    x0, y0, x1, y1 = (round(v) for v in np.subtract(FACE, (60, 20, 60, 20)))
    mask[y0:y1, x0:x1] = 1
    rows, columns = np.nonzero(cv2.rotate(mask, turn))
    assert overlap(face, (columns.min(), rows.min(), columns.max(), rows.max())) > 0.6, back
    # The nose tip lies inside the box, and the eyes are on the forehead's side of the mouth.
    assert face.box[0] < face.points[2, 0] < face.box[2]
    assert face.box[1] < face.points[2, 1] < face.box[3]
    down = face.points[3:].mean(axis=0) - face.points[:2].mean(axis=0)
    axis = {cv2.ROTATE_90_CLOCKWISE: (-1, 0), cv2.ROTATE_180: (0, -1), cv2.ROTATE_90_COUNTERCLOCKWISE: (1, 0)}[turn]
    assert float(down @ axis) > 20


def test_rotated_by_an_odd_angle_is_refused(mtcnn: Mtcnn) -> None:
    with pytest.raises(SettingsError, match="90"):
        Rotated(mtcnn, (45,))


def test_tiled_finds_small_faces_that_shrinking_loses(mtcnn: Mtcnn, astronaut: Array) -> None:
    large = np.full((1500, 2400, 3), 90, np.uint8)
    places = [(100, 100), (1750, 900), (500, 380)]
    for x, y in places:
        large[y : y + 256, x : x + 256] = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    expected = np.array([np.array(FACE) / 2 + [x, y, x, y] for x, y in places])
    assert found(Shrunk(mtcnn, 640), large, expected)[0] == 0
    assert found(Tiled(mtcnn, 640, max_side=640), large, expected) == (3, 0)


def test_shrunk_reports_in_the_pictures_pixels(mtcnn: Mtcnn, astronaut: Array) -> None:
    large = cv2.resize(astronaut, (2048, 2048), interpolation=cv2.INTER_CUBIC)
    (face,) = Shrunk(mtcnn, 512).detect(large)
    (plain,) = mtcnn.detect(astronaut)
    assert np.abs(np.array(face.box) / 4 - plain.box).max() < 3


def test_doubles_are_merged_and_neighbours_kept() -> None:
    points = np.zeros((5, 2), np.float32)
    boxes = [(0.0, 0.0, 10.0, 10.0), (1.0, 0.0, 11.0, 10.0), (20.0, 0.0, 30.0, 10.0)]
    detections = [Detection(box, score, points) for box, score in zip(boxes, (0.7, 0.9, 0.8), strict=True)]
    assert [d.score for d in merge(FakeDetector(detections).detect(np.zeros((1, 1, 3), np.uint8)))] == [0.9, 0.8]
    assert list(nms(np.array(boxes), np.array([0.7, 0.9, 0.8]), 0.95)) == [1, 2, 0]


def test_default_detector_names() -> None:
    with pytest.raises(SettingsError, match="choose from"):
        default_detector("haar")


def test_yunet_that_is_not_there_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="yunet"):
        default_detector("yunet")
    assert weights_of("auto") is None, "MTCNN stands in"
    assert isinstance(default_detector(), Shrunk)
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match="get it anew"):
        OneStage(tmp_path / "broken.onnx", 0.5)


def test_weights_are_named_for_the_manifest() -> None:
    assert [weights_of(name) for name in ("mien", "yunet", "mtcnn")] == ["detector", "yunet_dynamic", None]


@pytest.mark.shared
@needs_shared
@pytest.mark.parametrize(
    "make, least, most_false",
    [
        (lambda: Mtcnn(), 16, 1),
        (lambda: OneStage.known("yunet_dynamic", mirror=WEIGHTS), 17, 0),
        (lambda: OneStage.known("yunet", mirror=WEIGHTS), 17, 0),
        (lambda: OneStage.known("detector"), 15, 4),  # hands and oranges
    ],
    ids=["mtcnn", "yunet_dynamic", "yunet", "mien"],
)
def test_real_photos(make: Callable[[], Detector], least: int, most_false: int) -> None:
    """The photos with several faces, helmets, low light and no face: 17 faces by eye."""
    detector = make()
    hits = wrong = by_eye = 0
    for entry in _photos("expedition_1", "herrington", "wiseman", "holiday", "obama_calls", "sts-98", "soyuz", "lisa1"):
        rgb = cv2.cvtColor(cv2.imread(str(SHARED / "data" / "ci-set" / entry["file"])), cv2.COLOR_BGR2RGB)
        boxes = np.array([face["box"] for face in entry["yunet"]]).reshape(-1, 4)
        hit, extra = found(detector, rgb, boxes)
        hits, wrong, by_eye = hits + hit, wrong + extra, by_eye + entry["faces_by_eye"]
    assert by_eye == 17
    assert hits >= least
    assert wrong <= most_false


def _photos(*parts: str) -> list[dict[str, Any]]:
    entries = json.loads((SHARED / "data" / "ci-set" / "manifest.json").read_text())
    return [e for e in entries if any(part in e["file"] for part in parts)]


def test_a_cut_is_found_and_motion_and_exposure_are_none(astronaut: Array) -> None:
    other = skimage.data.chelsea()
    finder = CutFinder()
    shot = [astronaut[20 + i : 300 + i, 2 * i : 400 + 2 * i] for i in range(20)]
    assert not any(finder.step(frame) for frame in shot)
    assert not finder.step((shot[-1] * 0.5).astype(np.uint8))
    assert not finder.step(np.zeros_like(shot[0]))  # a black frame shows nothing
    assert not finder.step(shot[-1])
    assert finder.step(other[:280, :400])
    assert not finder.step(other[2:282, 2:402])
