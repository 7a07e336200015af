"""Our Poisson solver beside cv2.seamlessClone in one run: milliseconds, residual, error against the exact solution.

    python benchmarks/poisson.py [SOURCE TARGET]

512 x 512, three channels, uint8, an ellipse of 40 % of the area. Two photos may be given (resized to 512 x 512);
otherwise the public-domain astronaut and its mirror image are used. Columns: shortest and median time, largest and
mean error inside against sparse LU in grey levels (rounding alone makes 0.5), largest change outside the mask.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
import scipy.sparse as sp
import skimage.data
from scipy.sparse.linalg import splu

from mien.compose import poisson
from mien.types import Array

SIDE = 512


def exact(inside: Array, source: Array, target: Array) -> Array:
    """source + the exact membrane, H x W x 3 float64, by sparse LU; the mask must not touch the border."""
    index = np.cumsum(inside).reshape(inside.shape) - 1
    ys, xs = np.nonzero(inside)
    difference = target.astype(np.float64) - source
    n = len(ys)
    matrix = sp.diags(np.full(n, 4.0)).tocsc()
    right = np.zeros((n, 3))
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        y, x = ys + dy, xs + dx
        linked = inside[y, x]
        at = np.flatnonzero(linked), index[y[linked], x[linked]]
        matrix = matrix - sp.coo_matrix((np.ones(len(at[0])), at), shape=(n, n)).tocsc()
        right[~linked] += difference[y[~linked], x[~linked]]
    result = target.astype(np.float64)
    result[inside] = source[inside] + splu(matrix).solve(right)
    return result


def timed(run: Callable[[], object], times: int = 25) -> tuple[float, float]:
    """Shortest and median milliseconds after one run to warm up."""
    run()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        found.append((time.perf_counter() - start) * 1e3)
    return min(found), float(np.median(found))


def line(name: str, run: Callable[[], Array], expected: Array | None, target: Array, inside: Array, times: int) -> None:
    """Print one row of the table."""
    shortest, median = timed(run, times)
    result = run().astype(np.float64)
    outside = np.abs(result - target)[~inside].max()
    if expected is None:
        print(f"{name:36s} {shortest:8.2f} {median:8.2f} {'':17s} {outside:8.0f}")
        return
    error = np.abs(result - expected)[inside]
    print(f"{name:36s} {shortest:8.2f} {median:8.2f} {error.max():8.2f} {error.mean():8.3f} {outside:8.0f}")


def residual(inside: Array, source: Array, target: Array) -> float:
    """Largest |mean of the 4 neighbours - m| inside, in grey levels, of the membrane after the default cycles."""
    m = poisson.membrane(inside, target.astype(np.float32) - source)
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32) / 4
    return float(np.abs(cv2.filter2D(m, -1, kernel))[inside].max())


def main() -> None:
    """Command line: see the top of this file."""
    if len(sys.argv) == 3:
        source, target = (
            cv2.resize(cv2.imread(path), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for path in sys.argv[1:]
        )
    else:
        target = skimage.data.astronaut()
        source = np.ascontiguousarray(target[:, ::-1])
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = ((x - 256) / 166) ** 2 + ((y - 256) / 201) ** 2 < 1
    mask = inside.astype(np.uint8) * 255
    expected = np.clip(exact(inside, source, target), 0, 255)
    ys, xs = np.nonzero(inside)
    centre = (int(xs.min() + xs.max() + 1) // 2, int(ys.min() + ys.max() + 1) // 2)

    def ours() -> Array:
        return poisson.clone(source, target, inside)

    def theirs() -> Array:
        return cv2.seamlessClone(source, target, mask.copy(), centre, cv2.NORMAL_CLONE)

    print(
        f"{SIDE} x {SIDE} x 3 uint8, mask {inside.mean():.0%}, residual {residual(inside, source, target):.3f} levels"
    )
    print(f"{'':36s} {'best ms':>8s} {'median':>8s} {'max err':>8s} {'mean err':>8s} {'outside':>8s}")
    line("mien.compose.poisson.clone", ours, expected, target, inside, 40)
    line("  mixed gradients", lambda: poisson.clone(source, target, inside, mixed=True), None, target, inside, 10)
    line(f"cv2.seamlessClone, {cv2.getNumThreads()} threads", theirs, expected, target, inside, 8)
    cv2.setNumThreads(1)
    line("mien.compose.poisson.clone, 1 thread", ours, expected, target, inside, 40)
    line("cv2.seamlessClone, 1 thread", theirs, expected, target, inside, 8)


if __name__ == "__main__":
    main()
