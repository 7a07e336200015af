"""Things in front of a face, for the parsing network: hands, bars, cups, books, masks, scarves, glasses, hair.

Each maker takes a random generator, the picture (S x S x 3 uint8), its mesh, and another picture to take surfaces from, and
returns an RGBA layer (S x S x 4 uint8). Lengths are in shares of the face's width.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mien.faces import texture, topology
from mien.types import Array

Rng = np.random.Generator


def width_of(points: Array) -> float:
    """The face's width in pixels; of a turned face, its height's usual share."""
    low, high = points[:468, :2].min(axis=0), points[:468, :2].max(axis=0)
    return float(max(high[0] - low[0], 0.75 * (high[1] - low[1])))


def skin_of(rgb: Array, points: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of a face's skin, per channel (0..255)."""
    xy = points[texture.skin_vertices()[::3], :2].astype(int).clip(0, rgb.shape[0] - 1)
    colours = rgb[xy[:, 1], xy[:, 0]].astype(np.float32)
    return np.median(colours, axis=0), colours.std(axis=0) + 3


def _place(rng: Rng, points: Array) -> Array:
    """A point on the face or a little beside it, often near mouth and chin."""
    if rng.random() < 0.45:
        return np.asarray(points[(13, 152)[rng.integers(2)], :2] + rng.normal(0, 0.15, 2) * width_of(points))
    low, high = points[:468, :2].min(axis=0), points[:468, :2].max(axis=0)
    return np.asarray(low + (high - low) * rng.uniform(-0.05, 1.05, 2))


def _whole(points: Array) -> Array:
    """For OpenCV's drawing with 4 bits of fraction."""
    return np.rint(np.asarray(points) * 16).astype(np.int32)


def cut_out(rng: Rng, rgb: Array, points: Array, hands: Sequence[Array], face: float) -> Array:
    """A real hand, turned, sized and placed at random, mostly in the colour of the face.

    face: height in pixels of the face that the hands belong to.
    """
    hand = hands[rng.integers(len(hands))].copy()
    if rng.random() < 0.6:
        mean, spread = skin_of(rgb, points)
        solid = hand[hand[..., 3] > 200][::4, :3].astype(np.float32)
        own, own_spread = solid.mean(axis=0), solid.std(axis=0) + 3
        stretch = np.clip(spread / own_spread, 0.6, 1.3)
        wanted = mean * rng.uniform(0.8, 1.12) + rng.normal(0, 4, 3)
        hand[..., :3] = np.clip((hand[..., :3] - own) * stretch + wanted, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        hand = hand[:, ::-1].copy()
    side = rgb.shape[0]
    scale = rng.uniform(0.7, 1.4) * np.ptp(points[:468, 1]) / face
    middle = (hand.shape[1] / 2, hand.shape[0] / 2)
    matrix = cv2.getRotationMatrix2D(middle, rng.uniform(-180, 180), scale)
    matrix[:, 2] += _place(rng, points) - middle
    return cv2.warpAffine(hand, matrix, (side, side), flags=cv2.INTER_LINEAR)


def drawn_hand(rng: Rng, rgb: Array, points: Array) -> Array:
    """Fingers as shaded capsules with nails, a palm and a forearm, in the face's own colour."""
    side = rgb.shape[0]
    width = width_of(points)
    mean, _ = skin_of(rgb, points)
    skin = np.clip(mean * rng.uniform(0.75, 1.2) + rng.normal(0, 5, 3), 10, 250)
    layer = np.zeros((side, side, 4), np.float32)
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else rng.normal(-np.pi / 2, 0.6)  # arms come from below
    spread = rng.uniform(0.03, 0.35)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    palm = _place(rng, points) - along * width * rng.uniform(0.1, 0.7)
    thick = width * rng.uniform(0.065, 0.11)
    light, nails = rng.uniform(0, 2 * np.pi), rng.random() < 0.4
    if rng.random() < 0.7:
        sleeve = skin if rng.random() < 0.6 else rng.uniform(10, 240, 3)
        _capsule(
            layer, palm - along * thick * 3, palm - along * width * 2, thick * rng.uniform(1.8, 2.4), sleeve, light
        )
    if rng.random() < 0.85:
        _capsule(layer, palm, palm - along * thick * 2.5, thick * rng.uniform(2.6, 3.4), skin, light)
    count, bent = int(rng.integers(1, 5)), rng.uniform(-0.5, 0.5)
    for finger in range(count):
        place = finger - (count - 1) / 2
        root = palm + across * place * thick * 1.75 + along * thick * 2
        turn = angle + place * spread + bent * 0.3
        knuckle = root + _way(turn) * thick * rng.uniform(3.0, 4.5)
        tip = knuckle + _way(turn + bent + rng.normal(0, 0.15)) * thick * rng.uniform(2.0, 4.0)
        tone = skin * rng.uniform(0.92, 1.06)
        _capsule(layer, root, knuckle, thick * 0.95, tone, light)
        _capsule(layer, knuckle, tip, thick * 0.85, tone, light)
        if nails:
            _capsule(layer, tip, tip + (tip - knuckle) * 0.1, thick * 0.45, tone * [1.05, 0.95, 0.95] + 12, light)
    if rng.random() < 0.4:
        root = palm + across * thick * 2.2
        _capsule(layer, root, root + _way(angle + 1.0) * thick * rng.uniform(3, 5), thick, skin, light)
    grain = cv2.resize(rng.normal(1, 0.06, (12, 12)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    layer[..., :3] *= grain[..., None]
    return np.clip(layer, 0, 255).astype(np.uint8)


def _way(angle: float) -> Array:
    return np.array([np.cos(angle), np.sin(angle)])


def _capsule(layer: Array, a: Array, b: Array, radius: float, colour: Array, light: float) -> None:
    """Draw a rod with round ends, lit from one side and darker towards its rim, over the layer."""
    h, w = layer.shape[:2]
    low = np.maximum(np.floor(np.minimum(a, b) - radius - 1), 0).astype(int)
    high = np.minimum(np.ceil(np.maximum(a, b) + radius + 2), (w, h)).astype(int)
    if (high <= low).any():
        return
    y = np.arange(low[1], high[1], dtype=np.float32)[:, None]
    x = np.arange(low[0], high[0], dtype=np.float32)[None]
    d = (b - a).astype(np.float32)
    t = np.clip(((x - a[0]) * d[0] + (y - a[1]) * d[1]) / max(float(d @ d), 1e-3), 0, 1).astype(np.float32)
    dx, dy = x - (a[0] + t * d[0]), y - (a[1] + t * d[1])
    far = np.sqrt(dx * dx + dy * dy) / np.float32(radius)
    shade = 1 - 0.4 * np.minimum(far, 1) ** 3 + 0.15 * (dx * np.cos(light) + dy * np.sin(light)) / radius
    cover = np.clip((1 - far) * radius, 0, 1)[..., None].astype(np.float32)
    part = layer[low[1] : high[1], low[0] : high[0]]
    part[..., :3] += (shade[..., None] * colour.astype(np.float32) - part[..., :3]) * cover
    part[..., 3:] = np.maximum(part[..., 3:], 255 * cover)


def thing(rng: Rng, rgb: Array, points: Array, other: Array) -> Array:
    """A bar, a microphone, an ellipse, a polygon, a book or telephone, a cup; plain or with another photo's texture."""
    side, width, at = rgb.shape[0], width_of(points), _place(rng, points)
    alpha = np.zeros((side, side), np.uint8)
    angle = rng.uniform(0, 360)
    way = _way(np.radians(angle))
    across = np.array([-way[1], way[0]])
    kind = rng.integers(6)
    if kind == 0:  # bar
        _line(alpha, at - way * 2 * side, at + way * 2 * side, width * rng.uniform(0.04, 0.3))
    elif kind == 1:  # microphone
        head = width * rng.uniform(0.1, 0.22)
        _ellipse(alpha, at, np.array([head, head * rng.uniform(1, 1.4)]), angle + 90)
        _line(alpha, at, at + way * 2 * side, head * rng.uniform(0.6, 1.2))
    elif kind == 2:
        _ellipse(alpha, at, width * rng.uniform(0.1, 0.5, 2), angle)
    elif kind == 3:
        turns = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        reach = width * rng.uniform(0.15, 0.6, (len(turns), 1))
        cv2.fillPoly(alpha, [_whole(at + reach * np.stack([np.cos(turns), np.sin(turns)], axis=1))], 255, 16, 4)
    elif kind == 4:  # book, telephone
        a, b = width * rng.uniform(0.15, 0.7), width * rng.uniform(0.15, 0.5)
        ring = [at + s * way * a + t * across * b for s, t in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        cv2.fillPoly(alpha, [_whole(ring + rng.normal(0, 0.02, (4, 2)) * width)], 255, 16, 4)
    else:  # cup
        top, tall, low = width * rng.uniform(0.15, 0.3), width * rng.uniform(0.3, 0.6), rng.uniform(0.7, 1)
        ring = [at - across * top, at + across * top, at + way * tall + across * top * low]
        cv2.fillPoly(alpha, [_whole([*ring, at + way * tall - across * top * low])], 255, 16, 4)
        _ellipse(alpha, at, np.array([top * 0.3, top]), angle)
        if rng.random() < 0.6:
            middle = _whole(at + way * tall * 0.5 + across * top).tolist()
            axes = _whole([tall * 0.3, top * 0.6]).tolist()
            cv2.ellipse(alpha, middle, axes, angle, 0, 360, 255, max(int(width * 0.05), 1), 16, 4)
    return np.dstack([_surface(rng, rgb, points, other), alpha])


def _line(alpha: Array, a: Array, b: Array, thick: float) -> None:
    cv2.line(alpha, _whole(a).tolist(), _whole(b).tolist(), 255, max(int(thick), 1), 16, 4)


def _ellipse(alpha: Array, at: Array, axes: Array, angle: float) -> None:
    cv2.ellipse(alpha, _whole(at).tolist(), _whole(axes).tolist(), angle, 0, 360, 255, -1, 16, 4)


def _surface(rng: Rng, rgb: Array, points: Array, other: Array) -> Array:
    """What a thing looks like: a piece of another photo, a plain colour (also the face's own), stripes; some shading."""
    side = rgb.shape[0]
    kind = rng.random()
    if kind < 0.45:
        size = int(side * rng.uniform(0.3, 1.0))
        x, y = rng.integers(0, side - size + 1, 2)
        plain = cv2.resize(other[y : y + size, x : x + size], (side, side)).astype(np.float32)
    else:
        colour = skin_of(rgb, points)[0] if rng.random() < 0.3 else rng.uniform(0, 255) + rng.normal(0, 30, 3)
        plain = np.empty((side, side, 3), np.float32)
        plain[:] = colour
        if kind > 0.85:
            along = np.arange(side, dtype=np.float32)[:, None] * rng.normal(0, 0.3)
            along = along + np.arange(side, dtype=np.float32) * rng.normal(0, 0.3)
            plain[np.sin(along) > rng.uniform(-0.7, 0.7)] = rng.uniform(0, 255, 3)
    shade = cv2.resize(rng.uniform(0.7, 1.25, (3, 3)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(plain * shade[..., None], 0, 255).astype(np.uint8)


def face_piece(rng: Rng, rgb: Array, points: Array, other: Array) -> Array:
    """A round piece of another picture's middle, mostly somebody's skin, somewhere on the face."""
    side, width = rgb.shape[0], width_of(points)
    alpha = np.zeros((side, side), np.uint8)
    at = _place(rng, points)
    _ellipse(alpha, at, width * rng.uniform(0.12, 0.4, 2), rng.uniform(0, 180))
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-180, 180), rng.uniform(0.8, 2.0))
    matrix[:, 2] += at - side / 2 + rng.normal(0, 0.1, 2) * width
    return np.dstack([cv2.warpAffine(other, matrix, (side, side), borderMode=cv2.BORDER_REFLECT), alpha])


def cloth_mask(rng: Rng, rgb: Array, points: Array, other: Array) -> Array:
    """A mask over mouth and chin, or a scarf, fitted to the mesh."""
    alpha = np.zeros(rgb.shape[:2], np.uint8)
    scarf = rng.random() < 0.3
    upper = [132, 205, 0, 425, 361] if scarf else [234, 117, 50, (6, 197, 195, 5)[rng.integers(4)], 280, 346, 454]
    lower = [i for i in topology.OVAL if points[i, 1] > points[132 if scarf else 234, 1]]
    below = points[sorted(lower, key=lambda i: -points[i, 0]), :2]
    if scarf:
        below = below + np.array([0, 0.5 * width_of(points)])
    ring = np.concatenate([points[upper, :2], below])
    cv2.fillPoly(alpha, [_whole(ring + rng.normal(0, 0.01 * width_of(points), ring.shape))], 255, 16, 4)
    return np.dstack([_surface(rng, rgb, points, other), alpha])


def hat(rng: Rng, rgb: Array, points: Array, other: Array) -> Array:
    """A cap or a band from the brows or the forehead upwards."""
    alpha = np.zeros(rgb.shape[:2], np.uint8)
    width = width_of(points)
    brim = points[[127, 70, 105, 9, 334, 300, 356], :2] - [0, width * rng.uniform(0.02, 0.25)]
    tall = np.array([0, width * rng.uniform(0.15, 0.8)])
    bow = np.array([0, width * rng.uniform(0, 0.1)]) * np.sin(np.linspace(0, np.pi, 7))[:, None]
    wide = (brim - brim.mean(axis=0)) * [rng.uniform(1.0, 1.3), 1] + brim.mean(axis=0)
    ring = np.concatenate([wide + bow, wide[::-1] - tall])
    cv2.fillPoly(alpha, [_whole(ring)], 255, 16, 4)
    return np.dstack([_surface(rng, rgb, points, other), alpha])


def glasses(rng: Rng, rgb: Array, points: Array, other: Array) -> Array:
    """Frames round the eyes with bridge and temples, thin or thick; now and then dark or shining lenses."""
    side, width = rgb.shape[0], width_of(points)
    alpha, lens = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
    thick = max(round(width * float(rng.choice((0.008, 0.014, 0.025, 0.045)) * rng.uniform(0.8, 1.3))), 1)
    wide, tall, power = rng.uniform(0.8, 1.15), rng.uniform(0.55, 1.05), rng.choice((2.0, 2.6, 4.0, 7.0))
    droop, rimless = rng.uniform(-0.15, 0.3), rng.random() < 0.15
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    c, s = np.cos(turn), np.sin(turn)
    shape = np.stack([np.sign(c) * np.abs(c) ** (2 / power) * wide, np.sign(s) * np.abs(s) ** (2 / power) * tall], 1)
    shape[:, 1] += rng.uniform(0, 0.25) + droop * (shape[:, 1] > 0) * (1 - np.abs(shape[:, 0]))
    up = points[10, :2] - points[152, :2]
    down = -up / max(float(np.hypot(*up)), 1e-3)
    inner = []
    for outside, inside, ear in ((33, 133, 127), (263, 362, 356)):
        a, b = points[outside, :2], points[inside, :2]
        across = (a - b) * 0.85
        ring = (a + b) / 2 + across * 0.1 + shape[:, :1] * across + shape[:, 1:] * down * width * 0.16
        cv2.fillPoly(lens, [_whole(ring)], 255, 16, 4)
        closed = [_whole(ring if not rimless else ring[14:])]
        cv2.polylines(alpha, closed, not rimless, 255, thick, 16, 4)
        inner.append(ring[14])
        _line(alpha, ring[0], points[ear, :2] + (points[ear, :2] - ring[0]) * 0.3, thick * rng.uniform(0.7, 1.4))
    _line(alpha, inner[0], inner[1], thick)
    colour = rng.uniform(0, 70) + rng.normal(0, 8, 3) if rng.random() < 0.65 else rng.uniform(40, 230, 3)
    layer = np.empty((side, side, 4), np.float32)
    layer[..., :3] = colour
    layer[..., 3] = alpha
    tinted = rng.random()
    if tinted < 0.12:  # sunglasses
        layer[..., 3] = np.maximum(alpha, lens * rng.uniform(0.75, 1.0))
    elif tinted < 0.4:  # lenses that shine or shade a little
        layer[(alpha == 0) & (lens > 0), :3] = rng.choice((20, 240))
        layer[..., 3] = np.maximum(alpha, lens * rng.uniform(0.05, 0.25))
    layer[..., :3] *= cv2.resize(rng.uniform(0.7, 1.5, (5, 5)).astype(np.float32), (side, side))[..., None]
    return np.clip(layer, 0, 255).astype(np.uint8)


def strands(rng: Rng, rgb: Array, points: Array, other: Array) -> Array:
    """Some curved strands of hair of one colour that hang over the face, or a whole fringe."""
    side, width = rgb.shape[0], width_of(points)
    alpha = np.zeros((side, side), np.uint8)
    top, left, right = points[10, 1], points[:468, 0].min(), points[:468, 0].max()
    fringe = rng.random() < 0.4
    at, reach, bow = rng.uniform(left, right), rng.uniform(0.15, 0.35 if fringe else 1.0), rng.normal(0, 0.15, 2)
    t = np.linspace(0, 1, 16)[:, None]
    for _ in range(int(rng.integers(20, 45) if fringe else rng.integers(3, 14))):
        start = np.array([rng.uniform(left, right) if fringe else at + rng.normal(0, 0.06) * width, top - 0.15 * width])
        end = start + (np.array([rng.normal(0, 0.1), reach + 0.15]) + bow * [1, 0] + rng.normal(0, 0.04, 2)) * width
        bend = (start + end) / 2 + bow * width
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
        cv2.polylines(alpha, [_whole(curve)], False, 255, max(round(width * rng.uniform(0.012, 0.06)), 1), 16, 4)
    colour = rng.uniform(10, 170) * np.array([1.0, rng.uniform(0.6, 1.0), rng.uniform(0.35, 1.0)])
    grain = rng.uniform(0.75, 1.25, (side // 16, side // 2, 1)).astype(np.float32)
    tone = np.clip(cv2.resize(grain, (side, side))[..., None] * colour, 0, 255).astype(np.uint8)
    return np.dstack([tone, alpha])
