"""Things in front of a face, to cover it: cut-out and drawn hands, bars, microphones, masks, strands.

Each maker returns an RGBA layer (side x side x 4, uint8) over the picture of the face. Colours are RGB.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mien.faces import texture, topology
from mien.types import Array

Rng = np.random.Generator


def skin_of(rgb: Array, points: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of a face's skin, per channel (0..255)."""
    colours = texture.vertex_colours(rgb, points)[texture.skin_vertices()].astype(np.float32)
    return colours.mean(axis=0), colours.std(axis=0) + 3


def _place(rng: Rng, points: Array) -> Array:
    """A point on the face or a little beside it, often near the mouth."""
    if rng.random() < 0.35:
        return np.asarray(points[13, :2] + rng.normal(0, 0.15, 2) * np.ptp(points[:468, 0]))
    low, high = points[:468, :2].min(axis=0), points[:468, :2].max(axis=0)
    return np.asarray(low + (high - low) * rng.uniform(-0.05, 1.05, 2))


def cut_out(rng: Rng, rgb: Array, points: Array, hands: Sequence[Array]) -> Array:
    """A real hand, turned, sized and placed at random, mostly in the colour of the face."""
    hand = hands[rng.integers(len(hands))].copy()
    if rng.random() < 0.6:
        mean, spread = skin_of(rgb, points)
        solid = hand[hand[..., 3] > 200][:, :3].astype(np.float32)
        own, own_spread = solid.mean(axis=0), solid.std(axis=0) + 3
        stretch = np.clip(spread / own_spread, 0.6, 1.3)
        wanted = mean * rng.uniform(0.8, 1.12) + rng.normal(0, 4, 3)
        hand[..., :3] = np.clip((hand[..., :3] - own) * stretch + wanted, 0, 255).astype(np.uint8)
    side = rgb.shape[0]
    scale = rng.uniform(0.7, 1.4) * np.ptp(points[:468, 1]) / (side / 1.7)
    matrix = cv2.getRotationMatrix2D((hand.shape[1] / 2, hand.shape[0] / 2), rng.uniform(-180, 180), scale)
    matrix[:, 2] += _place(rng, points) - [hand.shape[1] / 2, hand.shape[0] / 2]
    if rng.random() < 0.5:
        hand = hand[:, ::-1].copy()
    return cv2.warpAffine(hand, matrix, (side, side), flags=cv2.INTER_LINEAR)


def drawn_hand(rng: Rng, rgb: Array, points: Array) -> Array:
    """Fingers as shaded capsules, a palm and a forearm, in the face's own colour."""
    side, zoom = rgb.shape[0], 2
    width = np.ptp(points[:468, 0]) * zoom
    mean, _ = skin_of(rgb, points)
    skin = np.clip(mean * rng.uniform(0.75, 1.2) + rng.normal(0, 5, 3), 10, 250)
    layer = np.zeros((side * zoom, side * zoom, 4), np.float32)
    angle, spread = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.35)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    palm = _place(rng, points) * zoom - along * width * rng.uniform(0.1, 0.7)
    thick = width * rng.uniform(0.07, 0.11)
    light = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.7:
        _capsule(layer, palm, palm - along * width * 2, thick * rng.uniform(1.8, 2.4), skin, light)
    if rng.random() < 0.85:
        _capsule(layer, palm, palm - along * thick * 2.5, thick * rng.uniform(2.6, 3.4), skin, light)
    count = int(rng.integers(1, 5))
    bent = rng.uniform(-0.5, 0.5)
    for finger in range(count):
        place = finger - (count - 1) / 2
        root = palm + across * place * thick * 1.75 + along * thick * 2
        turn = place * spread + bent * 0.3
        way = np.array([np.cos(angle + turn), np.sin(angle + turn)])
        knuckle = root + way * thick * rng.uniform(3.0, 4.5)
        curl = bent + rng.normal(0, 0.15)
        tip_way = np.array([np.cos(angle + turn + curl), np.sin(angle + turn + curl)])
        tone = skin * rng.uniform(0.92, 1.06)
        _capsule(layer, root, knuckle, thick * 0.95, tone, light)
        _capsule(layer, knuckle, knuckle + tip_way * thick * rng.uniform(2.0, 4.0), thick * 0.85, tone, light)
    if rng.random() < 0.4:
        way = np.array([np.cos(angle + 1.0), np.sin(angle + 1.0)])
        root = palm + across * thick * 2.2
        _capsule(layer, root, root + way * thick * rng.uniform(3, 5), thick, skin, light)
    grain = cv2.resize(
        rng.normal(1, 0.05, (9, 9, 1)).astype(np.float32), layer.shape[:2], interpolation=cv2.INTER_CUBIC
    )
    layer[..., :3] *= grain[..., None]
    return np.clip(cv2.resize(layer, (side, side), interpolation=cv2.INTER_AREA), 0, 255).astype(np.uint8)


def _capsule(layer: Array, a: Array, b: Array, radius: float, colour: Array, light: float) -> None:
    """Draw a rod with round ends, lit from one side and darker towards its rim, over the layer."""
    h, w = layer.shape[:2]
    low = np.maximum(np.floor(np.minimum(a, b) - radius - 1), 0).astype(int)
    high = np.minimum(np.ceil(np.maximum(a, b) + radius + 2), (w, h)).astype(int)
    if (high <= low).any():
        return
    y, x = np.mgrid[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    d = b - a
    t = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1]) / max(float(d @ d), 1e-3), 0, 1)
    dx, dy = x - (a[0] + t * d[0]), y - (a[1] + t * d[1])
    far = np.sqrt(dx * dx + dy * dy) / radius
    shade = 1 - 0.4 * np.clip(far, 0, 1) ** 3 + 0.15 * (dx * np.cos(light) + dy * np.sin(light)) / radius
    cover = np.clip((1 - far) * radius, 0, 1)[..., None]
    part = layer[low[1] : high[1], low[0] : high[0]]
    part[..., :3] = part[..., :3] * (1 - cover) + (shade[..., None] * colour) * cover
    part[..., 3:] = np.maximum(part[..., 3:], 255 * cover)


def thing(rng: Rng, rgb: Array, points: Array, other: Array) -> Array:
    """A bar, a microphone, an ellipse or a polygon, plain or with the texture of another photo."""
    side = rgb.shape[0]
    width = np.ptp(points[:468, 0])
    alpha = np.zeros((side, side), np.uint8)
    at = _place(rng, points)
    kind = rng.integers(4)
    angle = rng.uniform(0, 360)
    way = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    whole = lambda p: tuple(int(v) for v in np.rint(p * 16))  # noqa: E731
    if kind == 0:  # bar
        cv2.line(
            alpha, whole(at - way * 200), whole(at + way * 200), 255, max(int(width * rng.uniform(0.05, 0.3)), 2), 16, 4
        )
    elif kind == 1:  # microphone
        head = width * rng.uniform(0.1, 0.22)
        cv2.ellipse(
            alpha, whole(at), whole(np.array([head, head * rng.uniform(1, 1.4)])), angle + 90, 0, 360, 255, -1, 16, 4
        )
        cv2.line(alpha, whole(at), whole(at + way * 200), 255, max(int(head * rng.uniform(0.6, 1.2)), 2), 16, 4)
    elif kind == 2:
        axes = width * rng.uniform(0.1, 0.5, 2)
        cv2.ellipse(alpha, whole(at), whole(axes), angle, 0, 360, 255, -1, 16, 4)
    else:
        turns = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        reach = width * rng.uniform(0.15, 0.6, (len(turns), 1))
        ring = at + reach * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        cv2.fillPoly(alpha, [np.rint(ring * 16).astype(np.int32)], 255, 16, 4)
    return np.dstack([_surface(rng, rgb, points, other), alpha])


def _surface(rng: Rng, rgb: Array, points: Array, other: Array) -> Array:
    """What a thing looks like: a piece of another photo, a plain colour (also the face's own), with some shading."""
    side = rgb.shape[0]
    if rng.random() < 0.5:
        x, y = rng.integers(0, side // 2, 2)
        plain = cv2.resize(other[y : y + side // 2, x : x + side // 2], (side, side)).astype(np.float32)
    else:
        colour = skin_of(rgb, points)[0] if rng.random() < 0.3 else rng.uniform(0, 255) + rng.normal(0, 25, 3)
        plain = np.broadcast_to(np.asarray(colour, np.float32), (side, side, 3))
    shade = cv2.resize(rng.uniform(0.7, 1.25, (3, 3)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(plain * shade[..., None], 0, 255).astype(np.uint8)


def cloth_mask(rng: Rng, rgb: Array, points: Array, other: Array) -> Array:
    """A mask over mouth and chin, fitted to the mesh."""
    alpha = np.zeros(rgb.shape[:2], np.uint8)
    bridge = [234, 117, 50, (6, 197, 195, 5)[rng.integers(4)], 280, 346, 454]
    lower = [i for i in topology.OVAL if points[i, 1] > points[234, 1]]
    ring = np.concatenate([points[bridge, :2], points[sorted(lower, key=lambda i: -points[i, 0]), :2]])
    ring = ring + rng.normal(0, 1, ring.shape)
    cv2.fillPoly(alpha, [np.rint(ring * 16).astype(np.int32)], 255, 16, 4)
    return np.dstack([_surface(rng, rgb, points, other), alpha])


def strands(rng: Rng, rgb: Array, points: Array) -> Array:
    """Some curved strands of hair of one colour that hang over the face."""
    side = rgb.shape[0]
    alpha = np.zeros((side, side), np.uint8)
    width, top = np.ptp(points[:468, 0]), points[:468, 1].min()
    start = np.array([rng.uniform(points[:468, 0].min(), points[:468, 0].max()), top - 0.1 * width])
    end = start + np.array([rng.normal(0, 0.3), rng.uniform(0.4, 1.2)]) * width
    bend = (start + end) / 2 + rng.normal(0, 0.15, 2) * width
    t = np.linspace(0, 1, 16)[:, None]
    for _ in range(int(rng.integers(3, 14))):
        a, b, c = (p + rng.normal(0, 0.05, 2) * width for p in (start, bend, end))
        curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
        thick = max(round(width * rng.uniform(0.015, 0.05)), 1)
        cv2.polylines(alpha, [np.rint(curve * 16).astype(np.int32)], False, 255, thick, 16, 4)
    colour = rng.uniform(10, 170) * np.array([1.0, rng.uniform(0.6, 1.0), rng.uniform(0.35, 1.0)])
    tone = np.clip(colour * rng.uniform(0.8, 1.2, (side, side, 1)), 0, 255).astype(np.uint8)
    return np.dstack([tone, alpha])
