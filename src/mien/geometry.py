"""Similarity and rigid fits, 2 x 3 matrices, head pose.

A 2 x 3 matrix maps column points (x, y, 1). All functions take and return float64 unless they say otherwise.
"""

from __future__ import annotations

import numpy as np

from mien.types import Array, Pose


def apply(matrix: Array, points: Array) -> Array:
    """Map N x 2 points, or N x 3 (z is scaled by the matrix's scale, so that a mesh stays in proportion)."""
    moved = points[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    if points.shape[-1] == 2:
        return moved
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return np.concatenate([moved, points[..., 2:] * scale], axis=-1)


def invert(matrix: Array) -> Array:
    """The 2 x 3 matrix that undoes `matrix`."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.hstack([linear, -linear @ matrix[:, 2:]])


def chain(first: Array, second: Array) -> Array:
    """The 2 x 3 matrix that applies `first`, then `second`."""
    return np.hstack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2:] + second[:, 2:]])


def fit_similarity(source: Array, target: Array, weights: Array | None = None) -> Array:
    """Least-squares rotation, one scale and shift (2 x 3) that takes N x 2 `source` to `target`.

    Source: Umeyama 1991, in the closed complex form that holds in the plane; never mirrors.
    """
    w = np.ones(len(source)) if weights is None else weights
    a = source[:, 0] + 1j * source[:, 1]
    b = target[:, 0] + 1j * target[:, 1]
    mean_a, mean_b = np.average(a, weights=w), np.average(b, weights=w)
    a, b = a - mean_a, b - mean_b
    turn = np.sum(w * np.conj(a) * b) / max(np.sum(w * np.abs(a) ** 2), 1e-12)
    shift = mean_b - turn * mean_a
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def scale_of(matrix: Array) -> float:
    """How many target pixels one source pixel becomes along a side."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))


def fit_rigid(source: Array, target: Array, weights: Array | None = None) -> tuple[float, Array, Array]:
    """Scale, rotation (3 x 3) and shift (3) with target = scale * rotation @ source + shift, for N x 3 points.

    Source: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991.
    """
    w = np.full(len(source), 1 / len(source)) if weights is None else weights / weights.sum()
    mean_s, mean_t = w @ source, w @ target
    s, t = source - mean_s, target - mean_t
    U, D, Vt = np.linalg.svd((t * w[:, None]).T @ s)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt))])
    rotation = (U * sign) @ Vt
    scale = float((D * sign).sum() / (w @ (s**2).sum(axis=1)))
    return scale, rotation, mean_t - scale * rotation @ mean_s


def pose_of(rotation: Array) -> Pose:
    """Yaw, pitch, roll of a rotation that takes a frontal face to the picture (x right, y down, z away).

    The rotation is read as roll in the picture's plane after yaw after pitch; exact up to 90 degrees of yaw.
    """
    pitch = np.degrees(np.arctan2(rotation[2, 1], rotation[2, 2]))
    yaw = np.degrees(np.arcsin(np.clip(rotation[2, 0], -1, 1)))
    roll = np.degrees(np.arctan2(rotation[1, 0], rotation[0, 0]))
    return Pose(float(yaw), float(pitch), float(roll))


def rotation_of(pose: Pose) -> Array:
    """The 3 x 3 rotation that `pose_of` reads back."""
    y, p, r = np.radians([-pose.yaw, pose.pitch, pose.roll])
    yaw = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    pitch = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    roll = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return roll @ yaw @ pitch
