"""What is in front of a face is found, and a bare face is left alone: on a real photo, a real clip and single parts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import skimage.data
import torch

from mien import weights
from mien.faces import segment, texture
from mien.faces.landmarks import MeshLandmarker, Roi, roi_from_points
from mien.nets.occlusion import CHANNELS, OcclusionNet
from mien.types import Array


def _follow(frames: list[Array], roi: Roi, passes: int = 3) -> list[Array]:
    """The mesh in every frame, looked for where it was before."""
    landmarker, found = MeshLandmarker(threads=1), []
    for rgb in frames:
        for _ in range(passes):
            points = landmarker.landmarks(rgb, [roi])[0][0]
            roi = roi_from_points(points)
        passes = 1
        found.append(points)
    return found


@pytest.fixture(scope="module")
def astronaut() -> tuple[Array, Array]:
    """The face of scikit-image's photo and its mesh."""
    rgb = skimage.data.astronaut()[20:220, 130:320]
    return rgb.copy(), _follow([rgb], Roi(95, 100, 170))[0]


def _with_rod(rgb: Array, points: Array) -> tuple[Array, Array]:
    """The face behind a finger-like rod of its own skin's colour over the mouth, and where that is."""
    skin = np.median(texture.vertex_colours(rgb, points)[texture.skin_vertices()], axis=0)
    at, width = points[13, :2], texture.eye_distance(points)
    out, rod = rgb.astype(np.float32), np.zeros(rgb.shape[:2], np.float32)
    for step in range(24):  # lit from above, so that it looks round
        side = (step / 23 - 0.5) * 0.36 * width
        a, b = at + np.array([[-0.75 * width, side], [0.75 * width, side + 0.05 * width]])
        line = np.zeros(rgb.shape[:2], np.uint8)
        cv2.line(line, a.astype(int).tolist(), b.astype(int).tolist(), 1, max(int(0.03 * width), 1))
        out[line > 0] = skin * (1.1 - 0.5 * (2 * step / 23 - 1) ** 2)
        rod = np.maximum(rod, line)
    return np.clip(out, 0, 255).astype(np.uint8), cv2.morphologyEx(rod, cv2.MORPH_CLOSE, np.ones((5, 5))) > 0


def _whole(rgb: Array, points: Array) -> Array:
    return texture.wrap(np.ones((64, 64), np.float32), points, rgb.shape[1], rgb.shape[0]) > 0.9


def test_a_rod_of_skin_is_hidden_and_the_rest_is_seen(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    memory = segment.Memory.of(texture.unwrap(rgb, points)[None])
    behind, rod = _with_rod(rgb, points)
    before, after = segment.seen(rgb, points, memory), segment.seen(behind, points, memory)
    face = _whole(rgb, points)
    assert after[rod & face].mean() < 0.25
    far = face & ~cv2.dilate(rod.astype(np.uint8), np.ones((25, 25))).astype(bool)
    far[: int(points[105, 1])] = False  # above the brows, the fringe is told from what skin is left to see
    assert np.abs(after - before)[far].mean() < 0.03


def test_a_bare_face_is_seen_in_any_light(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    flat = texture.unwrap(rgb, points)
    for gain in (0.5, 1.0, 1.2):
        light = np.clip(rgb * np.array([1.0, 0.95, 0.85]) * gain, 0, 255).astype(np.uint8)
        assert segment.covered(texture.unwrap(light, points), points, flat) is None, gain
        alone = segment.covered(texture.unwrap(light, points), points)
        assert alone is None or alone[texture.inside()].mean() < 0.02, gain


def test_a_shadow_is_not_something_in_front(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    shade = cv2.GaussianBlur(np.where(np.arange(rgb.shape[1]) < points[4, 0], 0.55, 1.0)[None], (9, 1), 0)
    dark = np.rint(rgb * shade[..., None]).astype(np.uint8)
    hidden = segment.covered(texture.unwrap(dark, points), points, texture.unwrap(rgb, points))
    assert hidden is None or hidden[texture.inside()].mean() < 0.01


def test_the_network_reads_a_face_free_of_its_light(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    usual = texture.unwrap(rgb, points)
    dim = np.rint(usual * 0.7).astype(np.uint8)
    read = segment.features(usual, usual)
    assert read.shape == (CHANNELS, 64, 64)
    assert read.dtype == np.float32
    assert np.abs(segment.features(dim, usual) - read)[:3, 8:-8, 8:-8].mean() < 0.05
    alone = segment.features(dim)
    assert not alone[3:7].any()
    assert (alone[7] == texture.inside()).all()


def test_hair_hangs_from_the_rim_and_shine_does_not() -> None:
    face = texture.inside()
    flat = np.zeros((64, 64, 3), np.uint8)
    flat[face] = (190, 140, 120)
    top = int(np.flatnonzero(face.any(axis=1))[0])
    shine, fringe = flat.copy(), flat.copy()
    shine[top + 6 : top + 10, 28:36] = (250, 240, 235)
    fringe[top : top + 10, 24:40] = (60, 40, 30)
    assert segment.skin(flat)[face].min() == 1
    assert segment.skin(shine)[face].min() == 1
    assert segment.skin(fringe)[top + 1 : top + 6, 26:38].max() < 0.6


def test_specks_are_dropped_and_gaps_between_fingers_are_closed() -> None:
    answer = np.zeros((64, 64), np.float32)
    answer[30:33, 30:33] = 1
    assert segment.cleaned(answer) is None
    answer[20:44, 20:24] = answer[20:44, 28:32] = 1
    hidden = segment.cleaned(answer)
    assert hidden is not None
    assert hidden[25:40, 21:31].min() > 0.9, "two fingers and the gap between them"
    assert hidden[22:42, 19].min() > 0.3
    assert hidden[:, 40:].max() == 0


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


def test_memory_is_the_median_whatever_passes_by(astronaut: tuple[Array, Array]) -> None:
    rgb, points = astronaut
    flat, other = texture.unwrap(rgb, points), texture.unwrap(_with_rod(rgb, points)[0], points)
    memory = segment.Memory.of(np.array([flat, other, flat, other, flat]))
    assert (memory.median == flat).all()


def test_the_network_is_small_and_is_the_card_s() -> None:
    net = OcclusionNet()
    assert sum(p.numel() for p in net.parameters()) <= 60_000
    assert net(torch.zeros(2, CHANNELS, 64, 64)).shape == (2, 1, 64, 64)
    card = weights.cards()["occlusion"]
    content = (weights.ASSETS / card.file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == card.sha256
    assert len(content) <= 300_000


def test_a_real_hand_on_a_signer_s_chin(shared: Path) -> None:
    """A clip of a signer that the network hasn't seen: bare in frame 8, fingers on the chin in frame 24."""
    with av.open(str(shared / "data" / "asl" / "eat.mkv")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    meshes = _follow(frames, Roi(320, 160, 150))
    memory = segment.Memory.of(np.array([texture.unwrap(f, m) for f, m in zip(frames, meshes, strict=True)][::2]))
    hidden = [segment.covered(texture.unwrap(frames[i], meshes[i]), meshes[i], memory.median) for i in (8, 24)]
    assert hidden[0] is None
    assert hidden[1] is not None
    assert hidden[1][texture.inside()].mean() > 0.03
    assert hidden[1][:30].max() < 0.1, "nothing is in front of the eyes"
