"""Draw a triangle mesh: one numba z-buffer that interpolates any number of values a vertex.

Orthographic, because face meshes come in picture pixels already. First call compiles (about a second, then cached).
"""

from __future__ import annotations

import numba
import numpy as np

from mien.types import Array


@numba.njit(cache=True, fastmath=True, nogil=True)
def _draw(xyz, triangles, values, front_only, depth, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = depth.shape
    count = values.shape[1]
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = xyz[a, 0], xyz[a, 1], xyz[b, 0], xyz[b, 1], xyz[c, 0], xyz[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0 or (front_only and area > 0):
            continue
        x0 = max(int(np.ceil(min(ax, bx, cx))), 0)
        x1 = min(int(np.floor(max(ax, bx, cx))), width - 1)
        y0 = max(int(np.ceil(min(ay, by, cy))), 0)
        y1 = min(int(np.floor(max(ay, by, cy))), height - 1)
        inv = 1.0 / area
        for y in range(y0, y1 + 1):
            u0 = ((bx - x0) * (cy - y) - (cx - x0) * (by - y)) * inv
            v0 = ((cx - x0) * (ay - y) - (ax - x0) * (cy - y)) * inv
            du = (by - cy) * inv
            dv = (cy - ay) * inv
            for x in range(x0, x1 + 1):
                u = u0 + du * (x - x0)
                v = v0 + dv * (x - x0)
                w = 1.0 - u - v
                if u < -1e-4 or v < -1e-4 or w < -1e-4:
                    continue
                z = u * xyz[a, 2] + v * xyz[b, 2] + w * xyz[c, 2]
                if z < depth[y, x]:
                    depth[y, x] = z
                    for k in range(count):
                        out[y, x, k] = u * values[a, k] + v * values[b, k] + w * values[c, k]


def draw(points: Array, triangles: Array, values: Array, width: int, height: int) -> tuple[Array, Array]:
    """Interpolate `values` (V x K) over the front-facing triangles of `points` (V x 3; z smaller is nearer).

    Returns (height x width x K float32, zero where nothing was drawn; height x width bool: drawn).
    """
    depth = np.full((height, width), np.inf, np.float32)
    out = np.zeros((height, width, values.shape[1]), np.float32)
    _draw(
        np.ascontiguousarray(points, np.float32), np.ascontiguousarray(triangles, np.int32),
        np.ascontiguousarray(values, np.float32), True, depth, out,
    )  # fmt: skip
    return out, np.isfinite(depth)


@numba.njit(cache=True, fastmath=True, nogil=True)
def _normals(points, triangles, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            out[k, 0] += nx
            out[k, 1] += ny
            out[k, 2] += nz
    for k in range(out.shape[0]):
        length = np.sqrt(out[k, 0] ** 2 + out[k, 1] ** 2 + out[k, 2] ** 2)
        if length > 0:
            out[k, 0] /= length
            out[k, 1] /= length
            out[k, 2] /= length


def vertex_normals(points: Array, triangles: Array) -> Array:
    """Unit normals (V x 3), area-weighted, pointing away from the surface (z < 0 faces the camera)."""
    normals = np.zeros((len(points), 3))
    _normals(np.ascontiguousarray(points, np.float64), np.ascontiguousarray(triangles, np.int32), normals)
    return normals
