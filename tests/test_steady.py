"""Jitter goes, motion and blinks stay, nothing crosses a cut, and a chunk sees what the whole clip sees."""

from __future__ import annotations

import numpy as np

import heads
from mien import geometry
from mien.faces import align, steady
from mien.types import Array

FRAMES = 80
RANDOM = np.random.default_rng(3)


def walk(turn: float = 0.0) -> Array:
    """Meshes (T x 478 x 3) of a head that moves and nods, and half-way through looks elsewhere at once."""
    return np.array(
        [
            heads.mesh(10 * np.sin(t / 15) + turn * (t >= FRAMES // 2), 0, 5 * np.sin(t / 20), (100 + t, 120))
            for t in range(FRAMES)
        ]
    )


def follow(meshes: Array, cuts: tuple[int, ...] = (), frames: Array | None = None) -> steady.Anchors:
    numbers = np.arange(len(meshes)) if frames is None else frames
    return steady.anchors(numbers, np.stack([align.anchor(m) for m in meshes]), np.array(cuts, int))


def unseen(meshes: Array) -> tuple[Array, Array]:
    """No motion was seen."""
    return np.zeros((len(meshes), 478, 2), np.float32), np.zeros((len(meshes), 478), np.float32)


def steadied(meshes: Array, cuts: tuple[int, ...] = ()) -> Array:
    return steady.meshes(follow(meshes, cuts), 0, meshes, *unseen(meshes))


def centres(meshes: Array) -> Array:
    return meshes[:, :468, :2].mean(axis=1)


def test_jitter_goes_and_motion_stays() -> None:
    clean = walk()
    shaken = clean.copy()
    shaken[..., :2] += RANDOM.normal(0, 0.7, (FRAMES, 1, 2)).astype(np.float32)
    calm = steadied(shaken)
    tremble = [np.diff(centres(m), 2, axis=0).std() for m in (shaken, calm)]
    assert tremble[1] < 0.25 * tremble[0]
    assert np.abs(centres(calm) - centres(clean)).max() < 1.5
    assert np.abs(steadied(clean) - clean).max() < 1.0


def test_a_blink_stays_where_it_is() -> None:
    meshes = walk()
    lids = [159, 160, 158]
    meshes[30:33, lids, 1] += 6
    moved = (steadied(meshes) - steadied(walk()))[:, lids, 1].mean(axis=1)
    assert moved.argmax() == 31
    assert moved[31] > 4.5
    assert np.abs(moved[:28]).max() < 0.3


def test_nothing_crosses_a_cut() -> None:
    meshes = walk(turn=40)
    kept, smeared = (np.abs(steadied(meshes, cuts) - meshes)[..., :2].max() for cuts in ((FRAMES // 2,), ()))
    assert kept < 1.5
    assert smeared > 5


def test_a_gap_begins_a_segment() -> None:
    frames = np.r_[0:20, 40 : 40 + FRAMES - 20]
    track = follow(walk(), frames=frames)
    assert len(set(track.segment[:20])) == len(set(track.segment[20:])) == 1
    assert track.segment[19] != track.segment[20]


def test_a_chunk_with_its_margin_gives_the_same_bits() -> None:
    meshes = walk() + RANDOM.normal(0, 0.5, (FRAMES, 1, 3)).astype(np.float32)
    track, whole = follow(meshes), steadied(meshes)
    for start, stop in ((0, 20), (20, 41), (41, FRAMES)):
        first = max(start - steady.REACH, 0)
        given = meshes[first : stop + steady.REACH]
        part = steady.meshes(track, first, given, *unseen(given))
        np.testing.assert_array_equal(part[start - first : stop - first], whole[start:stop])


def seen_motion(clean: Array) -> tuple[Array, Array]:
    """The true motion, believed."""
    motion = np.diff(clean[..., :2], axis=0, prepend=clean[:1, :, :2])
    return motion, np.ones(motion.shape[:2], np.float32)


def test_meshes_move_as_the_skin_is_seen_to_move() -> None:
    clean = walk()
    shaken = clean.copy()
    shaken[..., :2] += RANDOM.normal(0, 0.7, (FRAMES, 478, 2)).astype(np.float32)
    track = follow(shaken)
    without, along = (steady.meshes(track, 0, shaken, *m) for m in (unseen(clean), seen_motion(clean)))
    jumps = [np.abs(np.diff(m - clean, axis=0))[..., :2].mean() for m in (without, along)]
    assert jumps[1] < 0.4 * jumps[0]


def test_a_distrusted_motion_moves_nothing() -> None:
    meshes = walk()
    motion, trust = seen_motion(meshes)
    wild = steady.meshes(follow(meshes), 0, meshes, motion + 50, trust * 0)
    np.testing.assert_array_equal(wild, steadied(meshes))


def test_the_path_is_the_least_squares_one() -> None:
    places, motion, weight = RANDOM.normal(size=(6, 1, 2)), RANDOM.normal(size=(6, 1, 2)), RANDOM.uniform(0, 9, (6, 1))
    rows = [(np.eye(6)[t], places[t, 0], 1.0) for t in range(6)]
    rows += [(np.eye(6)[t] - np.eye(6)[t - 1], motion[t, 0], weight[t, 0]) for t in range(1, 6)]
    matrix, right = (np.array([np.sqrt(w) * x for *xs, w in rows for x in [xs[i]]]) for i in (0, 1))
    np.testing.assert_allclose(
        steady._along(places, motion, weight)[:, 0], np.linalg.lstsq(matrix, right, rcond=None)[0], atol=1e-9
    )


def test_a_chunk_with_its_context_moves_as_the_whole_clip() -> None:
    clean = walk()
    meshes = clean + RANDOM.normal(0, 0.5, (FRAMES, 478, 3)).astype(np.float32)
    track, (motion, trust) = follow(meshes), seen_motion(clean)
    whole = steady.meshes(track, 0, meshes, motion, trust)
    first, stop = 30, 50
    given = slice(first - steady.CONTEXT, stop + steady.CONTEXT)
    part = steady.meshes(track, first - steady.CONTEXT, meshes[given], motion[given], trust[given])
    wanted = part[steady.CONTEXT : steady.CONTEXT + stop - first]
    assert np.abs(wanted - whole[first:stop]).max() < 0.05


def test_colours_are_averaged_in_time_and_fillers_do_not_count() -> None:
    track = follow(walk())
    values = np.clip(120 + RANDOM.normal(0, 20, (FRAMES, 468, 3)), 0, 255).astype(np.uint8)
    valid = np.ones(FRAMES, bool)
    values[25:28], valid[25:28] = 0, False
    calm = steady.colours(track, 0, values, valid)
    assert calm.shape == values.shape
    assert calm[:25].std(axis=0).mean() < 0.6 * values[:25].std(axis=0).mean()
    assert calm[25:28].min() > 60, "frames that were not measured take their neighbours' colours"


def test_colours_do_not_cross_a_cut() -> None:
    track = follow(walk(), cuts=(30,))
    values = np.zeros((FRAMES, 468, 3), np.uint8)
    values[30:] = 200
    calm = steady.colours(track, 0, values, np.ones(FRAMES, bool))
    assert calm[:30].max() < 1
    assert calm[30:].min() > 199


def test_a_still_face_stays_still() -> None:
    meshes = np.repeat(heads.mesh()[None], 30, axis=0)
    np.testing.assert_allclose(steadied(meshes), meshes, atol=1e-2)


def test_one_frame() -> None:
    meshes = heads.mesh()[None]
    np.testing.assert_allclose(steadied(meshes), meshes, atol=1e-3)
    assert geometry.scale_of(follow(meshes).smooth[0]) > 0
