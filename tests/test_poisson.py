"""The Poisson solver against an exact sparse solution, and what it must never touch."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.ndimage import gaussian_filter
from scipy.sparse.linalg import spsolve

from mien.compose import poisson
from mien.types import Array

SIZE = 96


def exact(inside: Array, source: Array, target: Array) -> Array:
    """The discrete equation of Pérez et al. (eq. 7) by sparse LU, with source gradients."""
    h, w = inside.shape
    index = np.full(inside.shape, -1)
    index[inside] = np.arange(inside.sum())
    ys, xs = np.nonzero(inside)
    degree, right = np.zeros(len(ys)), np.zeros((len(ys), 3))
    rows, columns = [], []
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        y, x = ys + dy, xs + dx
        known = (y >= 0) & (y < h) & (x >= 0) & (x < w)
        at = np.flatnonzero(known)
        y, x = y[known], x[known]
        degree += known
        right[at] += source[ys[at], xs[at]] - source[y, x]
        neighbour = index[y, x]
        rows.append(at[neighbour >= 0])
        columns.append(neighbour[neighbour >= 0])
        right[at[neighbour < 0]] += target[y, x][neighbour < 0]
    at = np.concatenate(rows), np.concatenate(columns)
    links = sp.coo_matrix((np.ones(len(at[0])), at), shape=(len(ys), len(ys)))
    result = target.copy()
    result[inside] = spsolve((sp.diags(degree) - links).tocsc(), right).reshape(-1, 3)
    return result


def pictures(seed: int = 0) -> tuple[Array, Array]:
    """Two smooth colour pictures with some fine texture, 0.2..0.8, so that nothing is clipped."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(2):
        rough = gaussian_filter(rng.standard_normal((SIZE, SIZE, 3)), (8, 8, 0)) * 8
        made.append(np.clip(0.5 + 0.07 * rough + 0.01 * rng.standard_normal((SIZE, SIZE, 3)), 0.2, 0.8))
    return made[0].astype(np.float32), made[1].astype(np.float32)


def mask(name: str) -> Array:
    y, x = np.mgrid[:SIZE, :SIZE]
    face = ((x - 47) / 33) ** 2 + ((y - 45) / 40) ** 2 < 1
    blobs = gaussian_filter(np.random.default_rng(3).standard_normal((SIZE, SIZE)), 4) > 0.01
    blobs[0], blobs[:, 0] = False, False
    return {
        "face": face,
        "ring": face & ~(((x - 40) / 12) ** 2 + ((y - 50) / 9) ** 2 < 1),
        "corner": (x < 51) & (y > 30),
        "left and right border": (y > 20) & (y < 71),
        "blobs": blobs,
        "noise": np.random.default_rng(4).random((SIZE, SIZE)) < 0.7,
        "line": np.abs(x - y) < 1,
        "pixel": (x == 30) & (y == 31),
    }[name]


@pytest.mark.parametrize(
    "name, levels",
    [
        ("face", 0.2),
        ("ring", 0.2),
        ("corner", 0.3),
        ("left and right border", 0.3),
        ("blobs", 0.3),
        ("noise", 0.5),
        ("line", 0.1),
        ("pixel", 0.1),
    ],
)
def test_agrees_with_the_exact_solution(name: str, levels: float) -> None:
    source, target = pictures()
    inside = mask(name)
    expected = np.clip(exact(inside, source.astype(np.float64), target.astype(np.float64)), 0, 1)
    result = poisson.clone(source, target, inside)
    assert np.abs(result - expected).max() < levels / 255
    assert np.array_equal(result[~inside], target[~inside])


def test_more_cycles_converge_to_the_exact_solution() -> None:
    source, target = pictures()
    inside = mask("face")
    expected = exact(inside, source.astype(np.float64), target.astype(np.float64)) - source
    errors = [np.abs(poisson.membrane(inside, target - source, cycles=n) - expected)[inside].max() for n in (1, 2, 4)]
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.3 * errors[1]


def test_a_constant_offset_disappears() -> None:
    _, target = pictures()
    result = poisson.clone(target + np.float32(0.1), target, mask("face"))
    assert np.abs(result - target).max() < 1e-4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_whole_numbers_keep_their_type_and_the_outside(dtype: type) -> None:
    top = np.iinfo(dtype).max
    source, target = ((picture * top).astype(dtype) for picture in pictures())
    inside = mask("face")
    before = inside.copy()
    result = poisson.clone(source, target, inside)
    expected = exact(inside, source.astype(np.float64), target.astype(np.float64))
    assert result.dtype == dtype
    assert np.abs(result - expected).max() <= 0.5 + 0.5 * top / 255
    assert np.array_equal(result[~inside], target[~inside])
    assert np.array_equal(inside, before)


def test_mixed_gradients_keep_the_targets_texture_under_a_flat_source() -> None:
    _, target = pictures()
    inside = mask("face")
    flat = np.full_like(target, 0.5)
    mixed, plain = (poisson.clone(flat, target, inside, mixed=m) for m in (True, False))
    assert np.abs(mixed - target).max() < 0.5 / 255
    assert np.abs(plain - target).max() > 10 / 255


def test_a_soft_mask_fades_into_the_target() -> None:
    source, target = pictures()
    soft = np.clip(gaussian_filter(mask("face").astype(np.float32), 4), 0, 1)
    hard = poisson.clone(source, target, soft)
    faded = poisson.clone(source, target, soft, soft=True)
    expected = target + soft[..., None] * (hard - target)
    assert np.abs(faded - expected)[soft > 0].max() < 1e-5
    assert np.array_equal(faded[soft == 0], target[soft == 0])


def test_nothing_or_everything_masked() -> None:
    source, target = pictures()
    assert np.array_equal(poisson.clone(source, target, np.zeros((SIZE, SIZE))), target)
    assert np.array_equal(poisson.clone(source, target, np.ones((SIZE, SIZE))), source)
