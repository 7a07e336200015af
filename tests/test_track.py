"""Tracks on real clips, across cuts, through crossings; gaps; joining. Where the shared clips are absent, with fakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mien.faces import align, find, people, track
from mien.faces.detect import FakeDetector
from mien.faces.landmarks import FakeLandmarker, Landmarker, Roi, TeacherLandmarker
from mien.faces.mtcnn import Mtcnn
from mien.faces.recognise import FakeEmbedder, IdentityEmbedder
from mien.types import Array, Detection, Face

SHARED = Path(__file__).parents[1].parent / "shared"
Rows = list[list[Face]]


@pytest.fixture(scope="module")
def landmarker() -> Landmarker:
    path = SHARED / "weights" / "face_landmarker_v2_with_blendshapes.task"
    if not path.is_file():
        pytest.skip("no shared/weights beside the checkout")
    pytest.importorskip("ai_edge_litert", reason="the teacher needs ai-edge-litert")
    return TeacherLandmarker(path)


def clip(name: str, first: int = 0, last: int | None = None) -> list[Array]:
    with av.open(str(SHARED / "data" / name)) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)][first:last]


def follow(frames: Sequence[Array], landmarker: Landmarker) -> tuple[Rows, list[track.Tracklet], list[people.Track]]:
    tracker = track.Tracker(Mtcnn(30), landmarker, IdentityEmbedder())
    rows = [tracker.step(i, frame) for i, frame in enumerate(frames)]
    tracklets = tracker.close()
    return rows, tracklets, people.finish(tracklets, IdentityEmbedder.same)


@pytest.mark.shared
@pytest.mark.parametrize(
    "name, people, least",
    [("intel_both.mp4", 2, 1.0), ("intel_three_people_walk.mp4", 3, 0.9), ("intel_female.mp4", 1, 0.75)],
)
def test_as_many_tracks_as_people(name: str, people: int, least: float, landmarker: Landmarker) -> None:
    frames = clip(f"ci-set/{name}")
    _, _, tracks = follow(frames, landmarker)
    assert [t.name for t in tracks] == [f"T{i + 1}" for i in range(people)]
    assert all(t.frames >= least * len(frames) for t in tracks)
    areas = [t.area * t.frames for t in tracks]
    assert areas == sorted(areas, reverse=True)


@pytest.mark.shared
def test_a_hand_before_the_face_does_not_end_the_track(landmarker: Landmarker) -> None:
    frames = clip("asl/help.mkv")
    rows, _, tracks = follow(frames, landmarker)
    (signer,) = tracks
    assert signer.frames == len(frames)
    centres = np.array([np.mean(faces[0].box) for faces in rows])
    assert np.abs(np.diff(centres)).max() < 10


@pytest.mark.shared
def test_a_cut_ends_all_tracks(landmarker: Landmarker) -> None:
    frames = clip("asl/bird.mkv", last=12) + clip("asl/eat.mkv", last=12)
    _, tracklets, tracks = follow(frames, landmarker)
    assert [(t.shot, t.first, t.last) for t in tracklets] == [(0, 0, 11), (1, 12, 23)]
    assert len(tracks) == 2, "two people in the same place of the same studio are two people"


@pytest.mark.shared
@pytest.mark.parametrize("front, behind", [("120", "001"), ("032", "007")])
def test_people_who_cross_keep_their_tracks(front: str, behind: str, landmarker: Landmarker) -> None:
    cutouts = [_cutout(name, landmarker) for name in (front, behind)]
    background = np.random.default_rng(0).integers(60, 200, (9, 16, 3)).astype(np.uint8)
    background = cv2.resize(background, (480, 270), interpolation=cv2.INTER_CUBIC)
    ways = [(80 + 320 * i / 39, 400 - 320 * i / 39) for i in range(40)]
    frames = [_composite(background, cutouts, way) for way in ways]
    rows, _, tracks = follow(frames, landmarker)
    assert len(tracks) == 2
    numbers = {tracklet: t.number for t in tracks for tracklet in t.tracklets}
    shown: dict[int, set[int]] = {1: set(), 2: set()}
    for faces, way in zip(rows, ways, strict=True):
        if abs(way[0] - way[1]) > 40:  # nearer than half a face, the one behind shows nothing of its own
            for face in faces:
                middle = (face.box[0] + face.box[2]) / 2
                shown[numbers[face.track or 0]].add(int(np.argmin(np.abs(np.array(way) - middle))))
    assert sorted(map(sorted, shown.values())) == [[0], [1]]
    assert max(t.frames for t in tracks) >= 35


def _cutout(person: str, landmarker: Landmarker) -> tuple[Array, Array]:
    """A head of 150 px with a soft oval round it."""
    path = SHARED / "data" / "london" / f"{person}_neutral.jpg"
    rgb = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    x0, y0, x1, y1 = find(rgb, Mtcnn(80), landmarker)[0].box
    width, height = round((x1 - x0) * 1.25), round((y1 - y0) * 1.6)
    left, top = round((x0 + x1 - width) / 2), round((y0 + y1 - height) / 2 - 0.12 * (y1 - y0))
    part = rgb[max(top, 0) : top + height, left : left + width]
    part = cv2.resize(part, (round(150 * width / height), 150), interpolation=cv2.INTER_AREA)
    oval = np.zeros(part.shape[:2], np.float32)
    cv2.ellipse(oval, (part.shape[1] // 2, 75), (part.shape[1] // 2 - 3, 72), 0, 0, 360, 1.0, -1)
    return part, cv2.GaussianBlur(oval, (0, 0), 2)[..., None]


def _composite(background: Array, cutouts: Sequence[tuple[Array, Array]], way: tuple[float, float]) -> Array:
    """The first head before the second."""
    frame = background.astype(np.float32)
    for (head, oval), x in reversed(list(zip(cutouts, way, strict=True))):
        left = round(x - head.shape[1] / 2)
        under = frame[60:210, left : left + head.shape[1]]
        under[:] = under * (1 - oval) + head * oval
    return frame.astype(np.uint8)


# What follows needs no photos: flat patches for people, a landmarker that lays a mesh where it is told.


class Patches:
    """Finds square patches of pure colour: a detector and a landmarker that see the same."""

    def __init__(self, size: int = 60) -> None:
        self.size = size

    def detect(self, rgb: Array) -> list[Detection]:
        return [_detection(x, y, self.size) for x, y in self._centres(rgb)]

    def landmarks(self, rgb: Array, rois: Sequence[Roi]) -> tuple[Array, Array]:
        centres = self._centres(rgb)
        snapped, presence = [], []
        for roi in rois:
            gaps = [float(np.hypot(roi.cx - x, roi.cy - y)) for x, y in centres]
            hit = bool(gaps) and min(gaps) < self.size / 2
            x, y = centres[int(np.argmin(gaps))] if hit else (roi.cx, roi.cy)
            snapped.append(Roi(x, y, self.size * 1.5))
            presence.append(float(hit))
        return FakeLandmarker().landmarks(rgb, snapped)[0], np.array(presence, np.float32)

    def _centres(self, rgb: Array) -> list[tuple[float, float]]:
        colours = {tuple(c) for c in rgb.reshape(-1, 3)[::7]} - {(20, 20, 20), (235, 235, 235)}
        found = []
        for colour in sorted(colours):
            rows, columns = np.nonzero((rgb == colour).all(axis=2))
            if len(rows) > 200:
                found.append((float(columns.mean()), float(rows.mean())))
        return found


def _detection(x: float, y: float, size: float) -> Detection:
    five = np.array([[-0.2, -0.2], [0.2, -0.2], [0, 0], [-0.15, 0.22], [0.15, 0.22]]) * size + [x, y]
    half = size / 2
    return Detection((x - half, y - half, x + half, y + half), 0.99, five.astype(np.float32))


def _scene(*patches: tuple[float, float, tuple[int, int, int]]) -> Array:
    frame = np.full((200, 400, 3), 20, np.uint8)
    frame[:, np.arange(400) // 50 % 2 == 1] = 235  # stripes, beside which a patch that goes is no cut
    for x, y, colour in patches:
        frame[round(y) - 30 : round(y) + 30, round(x) - 30 : round(x) + 30] = colour
    return frame


RED, BLUE = (220, 20, 20), (20, 20, 220)


def _run(frames: Sequence[Array], settings: track.Settings | None = None) -> tuple[Rows, track.Tracker]:
    patches = Patches()
    tracker = track.Tracker(patches, patches, FakeEmbedder(), settings)
    return [tracker.step(i, frame) for i, frame in enumerate(frames)], tracker


def test_a_gap_is_filled_between_its_ends() -> None:
    frames = [_scene((60 + 4 * i, 100, RED)) if not 10 <= i < 16 else _scene() for i in range(30)]
    rows, tracker = _run(frames)
    assert [len(faces) for faces in rows] == [1] * 10 + [0] * 6 + [1] * 14
    (person,) = people.finish(tracker.close(), FakeEmbedder.same)
    faces = people.filled(person)
    assert [index for index, _ in faces] == list(range(10, 16))
    assert all(face.score == 0.25 and face.track == 1 for _, face in faces)
    middles = [(face.box[0] + face.box[2]) / 2 for _, face in faces]
    assert np.abs(np.array(middles) - [60 + 4 * i for i in range(10, 16)]).max() < 3
    assert people.filled(person, longest=5) == []


def test_tracklets_of_one_person_are_joined_across_a_cut_by_looks() -> None:
    other = np.random.default_rng(3).integers(0, 60, (200, 400, 3)).astype(np.uint8)
    other = cv2.blur(other, (31, 31)) * 4 // 3
    other[:, 200:] += 120
    after = other.copy()
    after[70:130, 270:330] = RED
    frames = [_scene((80, 100, RED), (250, 100, BLUE))] * 10 + [after] * 10
    patches = Patches()
    patches._centres = lambda rgb: [  # type: ignore[method-assign]
        (float(c.mean()), float(r.mean()))
        for colour in (BLUE, RED)
        for r, c in [np.nonzero((rgb == colour).all(axis=2))]
        if len(r)
    ]
    tracker = track.Tracker(patches, patches, FakeEmbedder())
    for i, frame in enumerate(frames):
        tracker.step(i, frame)
    tracklets = tracker.close()
    assert [(t.shot, t.first) for t in tracklets] == [(0, 0), (0, 0), (1, 10)]
    tracks = people.finish(tracklets, FakeEmbedder.same)
    assert [len(t.tracklets) for t in tracks] == [2, 1]
    assert people.filled(tracks[0]) == []


def test_people_seen_at_once_are_never_joined() -> None:
    _, tracker = _run([_scene((80, 100, RED), (250, 100, RED))] * 6)
    # Two patches of one colour are one blob to this detector; give it two tracklets that look alike instead.
    (one,) = tracker.close()
    assert len(people.finish([one, replace(one, number=9)], same=-1.0)) == 2


def test_what_is_short_or_unsure_is_dropped() -> None:
    _, tracker = _run([_scene((80, 100, RED))] * 6)
    (one,) = tracker.close()
    for bad in (replace(one, frames=2), replace(one, score=0.4), replace(one, confirmed=0.2)):
        assert people.finish([bad], 0.9) == []
    assert [t.tracklets for t in people.finish([one], 0.9)] == [(one.number,)]


def test_faces_come_in_the_frames_own_pixels() -> None:
    points = _detection(100, 100, 60)
    tracker = track.Tracker(FakeDetector([points]), FakeLandmarker(), FakeEmbedder())
    (full,) = tracker.step(0, _scene(), scale=0.5)
    tracker = track.Tracker(FakeDetector([points]), FakeLandmarker(), FakeEmbedder())
    (same,) = tracker.step(0, _scene())
    assert np.allclose(full.points[:, :2], same.points[:, :2] * 2 + 0.5, atol=1e-3)
    assert np.allclose(full.points[:, 2], same.points[:, 2] * 2, atol=1e-3)
    assert full.box == align.box(full.points)


def test_memory_does_not_grow_with_the_length_of_the_clip() -> None:
    _, tracker = _run([_scene((80 + i % 3, 100, RED)) for i in range(60)])
    (one,) = tracker._live
    assert not any(isinstance(v, list) and len(v) > 2 for v in vars(one).values())
    (kept,) = tracker.close()
    assert kept.frames == 60
    assert kept.gaps == ()
