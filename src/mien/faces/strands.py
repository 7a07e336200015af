"""Where hair that hides a face goes on further than the parsing network saw it: by its colours, up to an edge.

The network learnt hair round faces; of a strand over a cheek or an eye it sees but the upper part. What it knows to be hair and
to be face gives two models of colour, and the cheapest edge between them is cut (Rother et al., "GrabCut", 2004).
"""

from __future__ import annotations

import cv2
import numpy as np

from mien.types import Array

SIDE = 128
"""Pixels of the longer side at which hair is followed."""
NEAR, REACH, WORTH = 0.1, 0.16, 0.02
"""How far round the face hair is looked at, and how far it may reach beyond what the network saw, over the square root of the
face's area; the share of that area that hair must have for it to be worth while."""
APART = 1.2
"""How far the hair's colours must be from the face's, in standard deviations: fair hair and hands can't be told from it."""
CROSS = np.ones((3, 3), np.uint8)
ROUNDS = 2
"""How often models and edge are found anew."""


def followed(rgb: Array, face: Array, free: Array, parts: Array) -> Array:
    """H x W float32: 0 where hair goes on over the face, 1 elsewhere.

    rgb: H x W x 3, uint8 or uint16; face: the inside of the mesh; free: 0 where the face is known to be hidden; parts: odds of
    eyes, nose and mouth, which stay; all H x W.
    """
    height, width = face.shape
    zoom = min(1.0, SIDE / max(height, width))
    size = max(round(width * zoom), 1), max(round(height * zoom), 1)
    small, inside, free, parts = (cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (rgb, face, free, parts))
    small = small if small.dtype == np.uint8 else np.asarray(small / 256, np.uint8)
    taken = _taken(small, inside > 0.5, free < 0.1, parts > 0.5)
    soft = 1 - cv2.GaussianBlur(taken.astype(np.float32), (3, 3), 0)
    return cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)


def _taken(rgb: Array, face: Array, hidden: Array, parts: Array) -> Array:
    """Which pixels of the face are hair's, too (H x W uint8)."""
    none, side = np.zeros(face.shape, np.uint8), float(np.sqrt(face.sum()))
    near = cv2.dilate(face.astype(np.uint8), CROSS, iterations=int(NEAR * side)) > 0
    away = cv2.distanceTransform((~hidden).astype(np.uint8), cv2.DIST_L2, 3)
    known = ~hidden & ((away > REACH * side) | (parts & (away > 2)))
    hair = hidden & near
    if hair.sum() < WORTH * face.sum() or not (known & face).any() or _apart(rgb[hair], rgb[known & face]) < APART:
        return none
    labels = np.where(face, cv2.GC_PR_FGD, cv2.GC_PR_BGD)
    labels = np.where(known, cv2.GC_FGD, np.where(hidden | ~near, cv2.GC_BGD, labels)).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(near.astype(np.uint8))
    part = np.s_[y : y + height, x : x + width]
    found, models = labels[part].copy(), (np.zeros((1, 65)), np.zeros((1, 65)))
    cv2.setRNGSeed(0)
    cv2.grabCut(np.ascontiguousarray(rgb[part]), found, (0, 0, 1, 1), *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    none[part] = np.isin(found, (cv2.GC_BGD, cv2.GC_PR_BGD)) & face[part]
    taken = _joined(cv2.morphologyEx(none, cv2.MORPH_OPEN, CROSS), hair)
    return np.where(face, taken, cv2.dilate(taken, CROSS, iterations=2))  # no thin line of face is left along the rim


def _joined(taken: Array, hair: Array) -> Array:
    """What of `taken` hangs together with the hair that was known: a dark brow with skin round it doesn't."""
    _, groups = cv2.connectedComponents((cv2.dilate(taken, CROSS) | hair).astype(np.uint8), connectivity=4)
    return taken * np.isin(groups, np.unique(groups[hair])).astype(np.uint8)


def _apart(a: Array, b: Array) -> float:
    """Distance of two groups of colours (N x 3) in the channel that tells them apart best, in standard deviations."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    return float((abs(a.mean(0) - b.mean(0)) / np.sqrt(a.var(0) + b.var(0) + 1)).max())
