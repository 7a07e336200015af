"""Seamless cloning: the source's gradients inside a mask, the target's colours at its edge.

The result is source + m, where the correction m is a membrane: m equals target - source on the pixels that
touch the mask from outside and its 5-point Laplacian vanishes inside (Pérez, Gangnet, Blake 2003, eq. 7, written for
the correction as in Farbman et al. 2009). A membrane is smooth away from its edge, which is what multigrid likes:
a full-multigrid start and a few V-cycles bring the error below half a grey level.

All arrays of the solver keep the three channels interleaved, so that one row is one vector of 3 * width numbers,
with a frame of one ghost pixel. The ghosts repeat the edge: where the mask touches the picture's border nothing is
imposed (natural boundary). Only runs of active pixels are visited.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from mien.types import Array

CYCLES = 2
COARSEST = 4
CV_DEPTHS = {"uint8": cv2.CV_8U, "uint16": cv2.CV_16U, "float32": cv2.CV_32F}
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
FOUR = np.ones((4, 4), np.uint8)


def _chebyshev(degree: int) -> Array:
    """Weights of damped Jacobi sweeps that together damp the upper part [0.5, 2] of the spectrum best."""
    roots = 1.25 + 0.75 * np.cos(np.pi * (2 * np.arange(degree) + 1) / (2 * degree))
    return (1 / roots).astype(np.float32)


WEIGHTS = _chebyshev(4)
COARSEST_WEIGHTS = _chebyshev(16)


def _states(inside: Array) -> Array:
    """States of the finest level: 1 where `inside`, 2 on outside pixels that touch it (4 neighbours), else 0."""
    active = inside.view(np.uint8)
    return active + 2 * (cv2.dilate(active, CROSS) - active)


def _coarse_states(state: Array) -> Array:
    """Half the resolution: a cell is active if three of its four pixels are, known if known pixels lie in it or near.

    Three of four puts the coarse edge where the fine one is. Where a mask is mostly edge (noise), cells that swallow
    known pixels would make the corrections overshoot: all four must be active then.
    """
    h, w = (n + n % 2 for n in state.shape)
    even = cv2.copyMakeBorder(state, 0, h - state.shape[0], 0, w - state.shape[1], cv2.BORDER_REPLICATE)
    quarters = cv2.resize((even == 1) * np.uint8(4), (w // 2, h // 2), interpolation=cv2.INTER_AREA)
    known = cv2.dilate((even == 2).view(np.uint8), FOUR, anchor=(1, 1))[::2, ::2]
    ragged = 4 * np.count_nonzero(quarters == 3) > np.count_nonzero(quarters == 4)
    return np.where(quarters >= (4 if ragged else 3), np.uint8(1), 2 * known)


@njit(cache=True, fastmath=True, nogil=True)
def _runs(state: Array) -> tuple[Array, Array]:
    """The runs of active pixels: row offsets (h + 1) and begin, end of every run in interleaved, framed columns."""
    h, w = state.shape
    rows = np.zeros(h + 1, np.int32)
    for y in range(h):
        row, after = state[y, :-1], state[y, 1:]
        count = 1 if row[0] == 1 else 0
        for x in range(w - 1):
            count += (row[x] != 1) & (after[x] == 1)
        rows[y + 1] = rows[y] + count
    runs = np.empty((rows[h], 2), np.int32)
    n = 0
    for y in range(h):
        if rows[y] == rows[y + 1]:
            continue
        row = state[y]
        inside = False
        for x in range(w):
            if (row[x] == 1) != inside:
                inside = not inside
                runs[n, 0 if inside else 1] = 3 * (x + 1)
                n += not inside
        if inside:
            runs[n, 1] = 3 * (w + 1)
            n += 1
    return rows, runs


@njit(cache=True, fastmath=True, nogil=True)
def _coarse_values(state: Array, u: Array, coarse: Array, uc: Array) -> None:
    """Known coarse cells get the mean of the known pixels in them and one pixel around."""
    h, w = state.shape
    for yc in range(coarse.shape[0]):
        for xc in range(coarse.shape[1]):
            if coarse[yc, xc] != 2:
                continue
            known = 0
            for y in range(max(2 * yc - 1, 0), min(2 * yc + 3, h)):
                for x in range(max(2 * xc - 1, 0), min(2 * xc + 3, w)):
                    if state[y, x] == 2:
                        known += 1
                        for c in range(3):
                            uc[yc + 1, 3 * xc + 3 + c] += u[y + 1, 3 * x + 3 + c]
            for c in range(3):
                uc[yc + 1, 3 * xc + 3 + c] /= known


@njit(cache=True, fastmath=True, nogil=True)
def _ghosts(u: Array) -> None:
    """Repeat the edge pixels in the frame."""
    h, w = u.shape
    for i in range(w):
        u[0, i] = u[1, i]
        u[h - 1, i] = u[h - 2, i]
    for y in range(h):
        for c in range(3):
            u[y, c] = u[y, 3 + c]
            u[y, w - 3 + c] = u[y, w - 6 + c]


@njit(cache=True, fastmath=True, nogil=True)
def _smooth(u: Array, v: Array, f: Array, loaded: bool, rows: Array, runs: Array, weights: Array) -> None:
    """Jacobi sweeps u += weight * (mean of the 4 neighbours - u + f), to and fro between u and v; an even number."""
    for s in range(len(weights)):
        old, new = (u, v) if s % 2 == 0 else (v, u)
        rest, quarter, weight = np.float32(1) - weights[s], np.float32(0.25) * weights[s], weights[s]
        for y in range(1, u.shape[0] - 1):
            for k in range(rows[y - 1], rows[y]):
                b, e = runs[k, 0], runs[k, 1]
                here, above, below = old[y, b:e], old[y - 1, b:e], old[y + 1, b:e]
                left, right, out = old[y, b - 3 : e - 3], old[y, b + 3 : e + 3], new[y, b:e]
                for i in range(e - b):
                    out[i] = rest * here[i] + quarter * (above[i] + below[i] + left[i] + right[i])
                if loaded:
                    load = f[y, b:e]
                    for i in range(e - b):
                        out[i] += weight * load[i]
        _ghosts(new)


@njit(cache=True, fastmath=True, nogil=True)
def _restrict(
    u: Array, f: Array, loaded: bool, rows: Array, runs: Array, fc: Array, rows_c: Array, runs_c: Array
) -> None:
    """The residual of u, summed over the four pixels of every active coarse cell (the load of its correction)."""
    h, w = u.shape
    pair = np.zeros(w + 6, np.float32)
    quarter = np.float32(0.25)
    for yc in range(1, fc.shape[0] - 1):
        if rows_c[yc - 1] == rows_c[yc]:
            continue
        for i in range(w):
            pair[i] = 0
        for y in range(2 * yc - 1, min(2 * yc + 1, h - 1)):
            for k in range(rows[y - 1], rows[y]):
                b, e = runs[k, 0], runs[k, 1]
                here, above, below = u[y, b:e], u[y - 1, b:e], u[y + 1, b:e]
                left, right, out = u[y, b - 3 : e - 3], u[y, b + 3 : e + 3], pair[b:e]
                for i in range(e - b):
                    out[i] += quarter * (above[i] + below[i] + left[i] + right[i]) - here[i]
                if loaded:
                    load = f[y, b:e]
                    for i in range(e - b):
                        out[i] += load[i]
        for k in range(rows_c[yc - 1], rows_c[yc]):
            first, last = runs_c[k, 0] // 3, runs_c[k, 1] // 3
            fine, coarse = pair[6 * first - 3 : 6 * last - 3], fc[yc, 3 * first : 3 * last]
            for x in range(last - first):
                for c in range(3):
                    coarse[3 * x + c] = fine[6 * x + c] + fine[6 * x + 3 + c]


@njit(cache=True, fastmath=True, nogil=True)
def _prolong(coarse: Array, u: Array, rows: Array, runs: Array, add: bool) -> None:
    """Linear interpolation to the active fine pixels: half the own cell, a quarter of the nearer cell in x and in y."""
    half, quarter = np.float32(0.5), np.float32(0.25)
    width = coarse.shape[1]
    mixed = np.empty(width, np.float32)
    fine = np.empty(2 * width, np.float32)
    for y in range(1, u.shape[0] - 1):
        if rows[y - 1] == rows[y]:
            continue
        yc = (y + 1) // 2
        own, near = coarse[yc], coarse[yc - 1 if y % 2 else yc + 1]
        for i in range(width):
            mixed[i] = half * own[i] + quarter * near[i]
        first = (runs[rows[y - 1], 0] // 3 + 1) // 2
        last = min(runs[rows[y] - 1, 1] // 6 + 1, width // 3 - 1)
        out = fine[6 * first - 3 : 6 * last - 3]
        middle, left = mixed[3 * first : 3 * last], own[3 * first - 3 : 3 * last - 3]
        right = own[3 * first + 3 : 3 * last + 3]
        for x in range(last - first):
            for c in range(3):
                out[6 * x + c] = middle[3 * x + c] + quarter * left[3 * x + c]
            for c in range(3):
                out[6 * x + 3 + c] = middle[3 * x + c] + quarter * right[3 * x + c]
        for k in range(rows[y - 1], rows[y]):
            b, e = runs[k, 0], runs[k, 1]
            out, value = u[y, b:e], fine[b:e]
            for i in range(e - b):
                out[i] = out[i] + value[i] if add else value[i]
    _ghosts(u)


@dataclass(frozen=True)
class _Level:
    """One grid: where it is active, and pairs of arrays to sweep between: the membrane u and its load f,
    the correction e of the finer level and its load r."""

    state: Array
    rows: Array
    runs: Array
    u: tuple[Array, Array]
    f: Array
    e: tuple[Array, Array]
    r: Array


def _coarser(fine: _Level, loaded: bool) -> _Level:
    state = _coarse_states(fine.state)
    rows, runs = _runs(state)
    u, spare, f, e, other, r = np.zeros((6, state.shape[0] + 2, 3 * (state.shape[1] + 2)), np.float32)
    _coarse_values(fine.state, fine.u[0], state, u)
    _ghosts(u)
    spare[:] = u
    if loaded:
        zero = np.zeros_like(fine.f)
        _restrict(zero, fine.f, True, fine.rows, fine.runs, f, rows, runs)
    return _Level(state, rows, runs, (u, spare), f, (e, other), r)


def _cycle(levels: list[_Level], at: int, u: tuple[Array, Array], f: Array, loaded: bool) -> None:
    """One V-cycle for level `at`: smooth, correct from the coarser levels, smooth."""
    level = levels[at]
    if at + 1 == len(levels):
        _smooth(*u, f, loaded, level.rows, level.runs, COARSEST_WEIGHTS)
        return
    below = levels[at + 1]
    _smooth(*u, f, loaded, level.rows, level.runs, WEIGHTS)
    _restrict(u[0], f, loaded, level.rows, level.runs, below.r, below.rows, below.runs)
    below.e[0][:] = 0
    _cycle(levels, at + 1, below.e, below.r, True)
    _prolong(below.e[0], u[0], level.rows, level.runs, True)
    _smooth(*u, f, loaded, level.rows, level.runs, WEIGHTS)


def membrane(inside: Array, difference: Array, load: Array | None = None, cycles: int = CYCLES) -> Array:
    """Solve mean(4 neighbours of m) - m + load = 0 where `inside`, with m = difference elsewhere.

    inside: H x W bool; difference: H x W x 3 float32, read only on pixels that touch `inside`; load: like it or None.
    Returns m, H x W x 3 float32, meaningful on `inside` and the pixels that touch it; where `inside` meets the
    border of the array nothing is imposed. `inside` must leave at least one pixel out.
    """
    h, w = inside.shape
    u = np.empty((h + 2, 3 * (w + 2)), np.float32)
    u[1:-1, 3:-3] = difference.reshape(h, 3 * w)
    _ghosts(u)
    f = np.zeros_like(u) if load is not None else u
    if load is not None:
        f[1:-1, 3:-3] = load.reshape(h, 3 * w)
    state = _states(inside)
    levels = [_Level(state, *_runs(state), (u, u.copy()), f, (u, u), u)]
    while min(levels[-1].state.shape) > COARSEST:
        coarser = _coarser(levels[-1], load is not None)
        if not len(coarser.runs):
            break
        levels.append(coarser)
    for at in range(len(levels) - 1, -1, -1):
        level = levels[at]
        if at + 1 < len(levels):
            _prolong(levels[at + 1].u[0], level.u[0], level.rows, level.runs, False)
        for _ in range(1 if at else cycles):
            _cycle(levels, at, level.u, level.f, load is not None)
    return u[1:-1, 3:-3].reshape(h, w, 3)


def _mixed_load(source: Array, target: Array) -> Array:
    """A quarter of the divergence by which the stronger of both gradients departs from the source's."""
    load = np.zeros_like(source)
    for axis in (0, 1):
        ds, dt = np.diff(source, axis=axis), np.diff(target, axis=axis)
        stronger = (dt * dt).sum(-1, keepdims=True) > (ds * ds).sum(-1, keepdims=True)
        change = np.where(stronger, dt - ds, np.float32(0)) * np.float32(0.25)
        load[tuple(slice(None, -1) if a == axis else slice(None) for a in (0, 1))] -= change
        load[tuple(slice(1, None) if a == axis else slice(None) for a in (0, 1))] += change
    return load


def clone(source: Array, target: Array, mask: Array, *, mixed: bool = False, soft: bool = False) -> Array:
    """Paste `source` into `target` where mask > 0 without a seam (Pérez, Gangnet, Blake 2003).

    source, target: H x W x 3 of one dtype, uint8, uint16 (full scale) or float32 [0, 1]; `source` must be valid one
    pixel beyond the mask. mask: H x W, bool, uint8 or float. mixed: the stronger of both pictures' gradients counts.
    soft: the result fades into the target by the mask's values (0..1). Returns a new array like `target`;
    pixels where the mask is 0 are the target's own. A mask that covers everything leaves nothing to match: the source.
    """
    inside = mask > 0
    ys, xs = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    out = target.copy()
    if not len(ys):
        return out
    box = slice(max(ys[0] - 1, 0), ys[-1] + 2), slice(max(xs[0] - 1, 0), xs[-1] + 2)
    inside = np.ascontiguousarray(inside[box])
    s, t = source[box], target[box]
    if inside.all():
        correction: Array = np.zeros(s.shape, np.float32)
    else:
        load = _mixed_load(s.astype(np.float32), t.astype(np.float32)) if mixed else None
        correction = membrane(inside, cv2.subtract(t, s, dtype=cv2.CV_32F), load)
    if soft:
        opacity = cv2.merge([mask[box].astype(np.float32)] * 3)
        correction = cv2.add(s, correction, dtype=cv2.CV_32F)
        correction = cv2.multiply(cv2.subtract(correction, t, dtype=cv2.CV_32F), opacity)
        s = t
    # OpenCV adds, rounds and saturates in one pass.
    cloned = cv2.add(s, correction, dtype=CV_DEPTHS[target.dtype.name])
    if target.dtype.kind == "f":
        cloned = np.clip(cloned, 0, 1, out=cloned)
    cv2.copyTo(cloned, inside.view(np.uint8), out[box])
    return out
