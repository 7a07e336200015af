"""Smoothing in time: less jitter, no lag, gaps bridged, cuts respected."""

from __future__ import annotations

import numpy as np
import pytest

from mien.compose import smooth
from mien.types import Array

T = 240
FRAMES = np.arange(T)
MOTIONS = {
    "still": np.full(T, 50.0),
    "slow": 50 + 30 * np.sin(2 * np.pi * FRAMES / 120),
    "fast": 50 + 60 * np.sin(2 * np.pi * FRAMES / 25),
    "dash": np.convolve(np.clip((np.arange(T + 4) - 122) * 15.0, 0, 150), np.full(5, 0.2), "valid"),
}


def noisy(name: str, sigma: float = 1.0) -> tuple[Array, Array]:
    true = np.repeat(MOTIONS[name][:, None], 4, axis=1)
    return true, true + np.random.default_rng(5).normal(0, sigma, true.shape)


@pytest.mark.parametrize("name, drop", [("still", 20), ("slow", 10), ("dash", 2.5)])
def test_jitter_drops(name: str, drop: float) -> None:
    true, seen = noisy(name)
    before, after = (np.std(np.diff(values - true, axis=0)) for values in (seen, smooth.adaptive(seen)))
    assert before / after > drop


@pytest.mark.parametrize("name", list(MOTIONS))
def test_the_smoothed_path_is_nearer_the_truth(name: str) -> None:
    true, seen = noisy(name)
    found = smooth.adaptive(seen)
    assert np.sqrt(np.mean((found - true) ** 2)) < 0.75


@pytest.mark.parametrize("name", list(MOTIONS))
def test_real_motion_is_neither_delayed_nor_flattened(name: str) -> None:
    true, _ = noisy(name)
    assert np.abs(smooth.adaptive(true) - true).max() < 0.1
    slightly = true + np.random.default_rng(1).normal(0, 0.2, true.shape)
    mean_error = (smooth.adaptive(slightly) - true).mean(1)
    assert np.abs(mean_error).max() < 0.5


def test_rts_bridges_gaps_along_the_motion() -> None:
    line = (2.0 * FRAMES)[:, None] + np.array([[0.0, 7.0]])
    seen = line.copy()
    seen[50:60, 0] = np.nan
    seen[:3, 1] = np.nan
    found = smooth.rts(seen, 0.1, 1.0)
    assert np.abs(found[:, 0] - line[:, 0]).max() < 0.01
    assert np.isfinite(found).all()
    assert np.isnan(smooth.rts(np.full((5, 1), np.nan), 0.1, 1.0)).all()


def test_rts_equals_the_batch_least_squares_solution() -> None:
    """The smoother is the exact minimiser of measurement and process errors; compare with one big linear system."""
    rng = np.random.default_rng(2)
    n, q, r = 12, 0.3, 0.8
    seen = np.cumsum(rng.normal(size=(n, 1)), axis=0)
    rows, right = [], []
    for t in range(n):
        row = np.zeros(2 * n)
        row[2 * t] = 1 / r
        rows.append(row)
        right.append(seen[t, 0] / r)
    start = np.zeros(2 * n)
    start[1] = 1 / np.sqrt(1e4 * r * r)
    rows.append(start)
    right.append(0.0)
    for t in range(1, n):
        # position += velocity + a / 2, velocity += a: the constraint is stiff, the acceleration weighs 1 / q.
        tie, push = np.zeros(2 * n), np.zeros(2 * n)
        tie[[2 * t, 2 * t - 2, 2 * t - 1, 2 * t + 1]] = np.array([1, -1, -0.5, -0.5]) * 1e5
        push[[2 * t + 1, 2 * t - 1]] = np.array([1, -1]) / q
        rows += [tie, push]
        right += [0.0, 0.0]
    batch = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0][::2]
    assert np.abs(smooth.rts(seen, q, r)[:, 0] - batch).max() < 1e-3


def test_nothing_is_smoothed_across_a_cut() -> None:
    true, seen = noisy("still")
    seen[100:] += 200
    true = true + np.where(FRAMES < 100, 0, 200)[:, None]
    found = smooth.adaptive(seen, cuts=[100])
    assert np.abs(found - true)[95:105].max() < 1.5
    moved = seen.copy()
    moved[100:] += 50
    assert np.abs(found - smooth.adaptive(moved, [100]))[:100].max() < 1e-9
    assert np.abs(smooth.adaptive(seen)[98:102] - found[98:102]).max() > 0.2


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7])
def test_short_tracks_pass(length: int) -> None:
    values = np.random.default_rng(0).random((length, 4))
    assert smooth.adaptive(values).shape == values.shape
    assert np.isfinite(smooth.adaptive(values)).all()


def test_one_euro_has_no_lag_and_less_jitter() -> None:
    true, seen = noisy("slow")
    found = smooth.one_euro(seen, rate=25)
    assert np.std(np.diff(seen - true, axis=0)) / np.std(np.diff(found - true, axis=0)) > 2.5
    shifts = [np.mean((found[5:-5] - np.roll(true, k, axis=0)[5:-5]) ** 2) for k in (-2, -1, 0, 1, 2)]
    assert int(np.argmin(shifts)) == 2
    gap = seen.copy()
    gap[40:44] = np.nan
    assert np.isfinite(smooth.one_euro(gap, 25)).all()


def similarity(scale: Array, degrees: Array, x: Array, y: Array) -> Array:
    a, b = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.stack([np.stack([a, -b, x], -1), np.stack([b, a, y], -1)], axis=1)


def test_similarities_are_smoothed_about_the_middle_of_the_crop() -> None:
    rng = np.random.default_rng(3)
    degrees = 170 + 25 * np.sin(2 * np.pi * FRAMES / 100)
    true = similarity(np.full(T, 1.5), degrees, np.full(T, 300.0), 200 + FRAMES * 1.0)
    jitter = [rng.normal(0, s, T) for s in (0.01, 0.5, 1.0, 1.0)]
    seen = similarity(1.5 + jitter[0], degrees + jitter[1], 300 + jitter[2], 200 + FRAMES + jitter[3])
    corners = np.array([[0.0, 0, 1], [256, 0, 1], [0, 256, 1], [256, 256, 1]]).T
    errors = [
        np.std(np.diff(m @ corners - true @ corners, axis=0))
        for m in (seen, smooth.similarity_track(seen, centre=(128, 128)))
    ]
    assert errors[0] / errors[1] > 3
    found = smooth.similarity_track(true, centre=(128, 128))
    assert np.abs(found - true).max() < 0.05


def test_a_similarity_track_of_one_frame_or_with_a_gap() -> None:
    one = similarity(np.array([2.0]), np.array([-30.0]), np.array([5.0]), np.array([6.0]))
    assert np.abs(smooth.similarity_track(one) - one).max() < 1e-9
    many = np.repeat(one, 20, axis=0)
    many[7:9] = np.nan
    assert np.abs(smooth.similarity_track(many) - one).max() < 1e-6
