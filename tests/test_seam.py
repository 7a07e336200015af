"""Seams, tints and lights that were put in are found, the stronger the more; a clean paste, a codec and a mark are not."""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
import pytest

import spoil
from mien import image, raster
from mien.evaluate import seam
from mien.faces import texture, topology
from mien.types import Array

FACES = spoil.samples()
STRENGTHS = (0.1, 0.25, 0.5, 0.75, 1.0)
EDGES = ("step", "soft_step", "seam", "colour", "blur_step", "shifted_paste")


def recoded(rgb: Array, quality: int) -> Array:
    data = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED))


def marked(rgb: Array) -> Array:
    """With an invisible mark of 43 dB: a pattern of the luma, 1.8 grey levels strong."""
    wave = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, rgb.shape[:2]), (0, 0), 1)
    return np.clip(np.rint(rgb + 1.8 * (wave / wave.std())[..., None]), 0, 255).astype(np.uint8)


def pasted(source: int, target: int) -> Array:
    """One face on another, colours brought to the target's, faded out over a dozen pixels."""
    a, b = FACES[source].rgb.astype(float), FACES[target].rgb.astype(float)
    inner = cv2.erode(FACES[target].mask.astype(np.uint8), np.ones((25, 25), np.uint8))
    for channel in range(3):
        x, y = a[inner > 0, channel], b[inner > 0, channel]
        a[..., channel] = (a[..., channel] - x.mean()) * y.std() / x.std() + y.mean()
    weight = cv2.GaussianBlur(inner.astype(float), (0, 0), 6)[..., None]
    return np.clip(np.rint(b + weight * (a - b)), 0, 255).astype(np.uint8)


def overlap(a: Array, b: Array) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


@pytest.mark.parametrize("face", range(len(FACES)))
def test_what_changed_is_found_under_mark_and_codec(face: int) -> None:
    rgb, mask = FACES[face].rgb, FACES[face].mask
    swapped = spoil.step(rgb, mask, 0.5, 0)
    for noise in (lambda x: x, marked, lambda x: recoded(x, 60), lambda x: recoded(marked(x), 75)):
        assert overlap(seam.changed(noise(swapped), rgb), mask) > 0.93
        assert not seam.changed(noise(rgb), rgb).any()


def test_only_the_largest_change_counts() -> None:
    rgb = FACES[0].rgb.copy()
    rgb[100:180, 80:170] ^= 64
    rgb[5:25, 5:25] ^= 64
    found = seam.changed(rgb, FACES[0].rgb)
    assert found[140, 120]
    assert not found[15, 15]


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("face", range(len(FACES)))
def test_a_stronger_edge_is_more_of_a_seam(name: str, face: int) -> None:
    rgb, mask = FACES[face].rgb, FACES[face].mask
    for seed in (0, 1, 2):
        found = [seam.seam(spoil.SPOILERS[name](rgb, mask, s, seed), rgb, mask) for s in STRENGTHS]
        assert all(a < b for a, b in itertools.pairwise([1, *found])), found


def test_a_hard_step_is_fine_and_a_soft_one_coarse() -> None:
    rgb, mask = FACES[0].rgb, FACES[0].mask
    hard, soft = (seam.rim(f(rgb, mask, 0.5, 0), rgb, mask) for f in (spoil.step, spoil.soft_step))
    assert hard.fine > 2
    assert soft.fine < 0.6 * hard.fine
    assert soft.coarse > 1.5
    assert seam.rim(spoil.blur_step(rgb, mask, 0.5, 0), rgb, mask).detail > 1.5


@pytest.mark.parametrize(("source", "target"), [(0, 1), (1, 2), (2, 3), (3, 0)])
def test_a_clean_paste_of_somebody_else_shows_no_edge(source: int, target: int) -> None:
    swapped, rgb = pasted(source, target), FACES[target].rgb
    mask = seam.changed(swapped, rgb)
    clean = seam.seam(swapped, rgb, mask)
    assert clean < 1.35
    cut = np.where(mask[..., None], np.clip(swapped.astype(int) + 10, 0, 255), rgb).astype(np.uint8)
    assert seam.seam(cut, rgb, mask) > clean + 0.15, "ten grey levels, cut off hard, on top of it"


def test_an_untouched_picture_has_no_seam() -> None:
    for face in FACES:
        assert seam.seam(face.rgb, face.rgb, face.mask) == 1
    assert math.isnan(seam.seam(FACES[0].rgb, FACES[0].rgb, np.zeros_like(FACES[0].mask)))


@pytest.mark.parametrize("face", range(len(FACES)))
def test_a_tint_is_measured_in_delta_e(face: int) -> None:
    rgb, mask, points = FACES[face].rgb, FACES[face].mask, FACES[face].points
    assert seam.colour_gap(rgb, rgb, points, mask) == 0
    for seed in (0, 1):
        tints = [spoil.colour(rgb, mask, s, seed) for s in STRENGTHS]
        found = [seam.colour_gap(x, rgb, points, mask) for x in tints]
        assert all(a < b for a, b in itertools.pairwise([0, *found])), found
        lab = [cv2.cvtColor(image.to_float(x), cv2.COLOR_RGB2Lab)[mask] for x in (tints[2], rgb)]
        assert found[2] == pytest.approx(np.linalg.norm((lab[0] - lab[1]).mean(axis=0)), rel=0.15)


def test_a_photo_that_is_tinted_as_a_whole_has_no_gap() -> None:
    face = FACES[0]
    tinted = np.clip(face.rgb + np.array([12, 0, -12]), 0, 255).astype(np.uint8)
    assert seam.colour_gap(tinted, face.rgb, face.points, face.mask) < 0.5 * seam.colour_gap(
        np.where(face.mask[..., None], tinted, face.rgb), face.rgb, face.points, face.mask
    )


def test_no_skin_around_no_figure() -> None:
    face = FACES[0]
    green = np.where(face.mask[..., None], face.rgb, np.array([0, 200, 0], np.uint8))
    assert math.isnan(seam.colour_gap(green, green, face.points, face.mask))


def lit(points: Array, way: Array) -> Array:
    """A plaster head under one lamp in the direction `way`."""
    normals = raster.vertex_normals(points[:468], topology.TRIANGLES)
    shade = np.column_stack([0.7 * np.maximum(normals @ way, 0)] * 2)
    drawn, cover = texture.draw_coarsely(shade, points, 256, 256)
    return image.from_float(image.to_srgb(drawn[..., 0] * (cover > 0.5)))[..., None].repeat(3, axis=2)


def towards(yaw: float, pitch: float) -> Array:
    yaw, pitch = np.radians((yaw, pitch))
    return np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), -np.cos(yaw) * np.cos(pitch)])


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (20, 0), (-35, 10), (10, -30), (30, -25)])
def test_where_the_light_comes_from_is_known_to_a_few_degrees(yaw: float, pitch: float) -> None:
    points = FACES[0].points
    found = seam.light(lit(points, towards(yaw, pitch)), points)
    assert found is not None
    assert np.degrees(np.arccos(np.clip(found @ towards(yaw, pitch), -1, 1))) < 6
    gap = seam.light_gap(lit(points, towards(yaw, pitch)), lit(points, towards(0, 0)), points)
    true = np.degrees(np.arccos(towards(yaw, pitch) @ towards(0, 0)))
    assert gap == pytest.approx(true, abs=4)


@pytest.mark.parametrize("face", range(len(FACES)))
def test_more_light_from_aside_is_a_larger_gap(face: int) -> None:
    rgb, mask, points = FACES[face].rgb, FACES[face].mask, FACES[face].points
    for seed in (0, 1):
        found = [seam.light_gap(spoil.light(rgb, mask, s, seed), rgb, points) for s in STRENGTHS]
        assert all(a < b for a, b in itertools.pairwise([0, *found])), found


def test_a_face_seen_from_behind_has_no_light() -> None:
    face = FACES[0]
    assert math.isnan(seam.light_gap(face.rgb, face.rgb, face.points * np.array([-1, 1, 1]) + np.array([256, 0, 0])))
