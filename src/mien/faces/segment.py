"""What of a face is really seen: skin told from hair by statistics, hands and things told from the face by a network.

Both look at the face's unwrapped texture, where everything has its place. `skin` compares the forehead's and temples'
colours with the cheeks' and drops hair and hats; `covered` finds what is in front of the face, better so when a track's
`Memory` tells what is usually there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import onnxruntime as ort

from mien import weights
from mien.errors import WeightsError
from mien.faces import texture, topology
from mien.types import Array

LIKELY = 0.3
"""Odds that a texel needs to be taken for covered where it hangs together with sure ones."""
SURE = (0.6, 14)
"""Odds and number of texels from which something is in front of a face whose usual look is known."""
SURE_ALONE = (0.9, 40)
"""The same for a single picture, where a beard or a shining forehead may look like a hand."""
SURE_TURNED = (0.97, 40)
"""The same for a head turned so far that less than TURNED of its texels are seen: its usual look tells little."""
TURNED = 0.66
GRAIN = 45.0
"""A mask is drawn with at least that many pixels between the outer eye corners."""


@cache
def _hair_zone() -> Array:
    """Per texel: 1 where hair may hang over the mesh (forehead, temples, cheeks' rim), 0 on the features."""
    up = topology.CANONICAL[:, 1]
    brow = up[list(topology.LEFT_BROW) + list(topology.RIGHT_BROW)].max()
    forehead = np.clip((up - brow - 0.2) / 0.8, 0, 1)
    rim = np.clip((2.5 - texture.rings()) / 1.5, 0, 1) * (up > -2)
    return texture.flatten(np.maximum(forehead, rim))


@cache
def _sure_skin() -> Array:
    """Texels on cheeks, nose and chin: skin whatever the haircut."""
    skin = np.zeros(468)
    skin[texture.skin_vertices()] = 1
    return (texture.flatten(skin) > 0.9) & (_hair_zone() == 0) & texture.inside()


@cache
def _rim() -> Array:
    """Texels within two steps of the face's outline."""
    return texture.inside() & (
        cv2.erode(np.pad(texture.inside().astype(np.uint8), 1), np.ones((5, 5)))[1:-1, 1:-1] == 0
    )


def skin(flat: Array, hidden: Array | None = None) -> Array:
    """How much each texel of an unwrapped face is skin rather than hair or a hat: S x S float32, 1 outside the zone.

    hidden: what is `covered` and therefore tells nothing of the skin's colour. A robust Gaussian in Lab over the cheeks
    and the nose; brows, eyes, lips and beards are left alone by the zone.
    """
    lab = cv2.cvtColor(flat, cv2.COLOR_RGB2LAB).astype(np.float32)
    bare = _sure_skin() if hidden is None else _sure_skin() & (hidden < 0.1)
    samples = lab[bare if bare.sum() >= 50 else _sure_skin()][::3]
    centre = np.median(samples, axis=0)
    spread = 1.48 * np.median(np.abs(samples - centre), axis=0) + np.array([16.0, 4.0, 4.0], np.float32)
    off = (lab - centre) / (spread * np.array([1.0, 1.41, 1.41], np.float32))
    hair = np.clip((np.sqrt((off * off).sum(axis=2)) - 1.8) / 0.8, 0, 1).astype(np.float32) * _hair_zone()
    # A fringe is one thing: skin between its strands belongs to it, and so does all that is above a strand.
    fringe = cv2.morphologyEx(
        cv2.morphologyEx(hair, cv2.MORPH_OPEN, np.ones((2, 2))), cv2.MORPH_CLOSE, np.ones((3, 11))
    )
    if not fringe.any():
        return np.ones(fringe.shape, np.float32)
    # It hangs from the face's rim; what shines alone in the middle of a forehead is skin.
    _, labels = cv2.connectedComponents((fringe > 0.2).astype(np.uint8))
    hanging = np.unique(labels[_rim()])
    fringe = fringe * np.isin(labels, hanging[hanging > 0])
    upwards = np.maximum.accumulate(fringe[::-1], axis=0)[::-1] * _hair_zone()
    return np.asarray(1 - cv2.blur(cv2.dilate(upwards, np.ones((3, 3))), (3, 3)), np.float32)


@dataclass(frozen=True)
class Memory:
    """What a tracked face usually looks like: the median of its unwrapped textures (uint8 scale, S x S x 3)."""

    median: Array

    @staticmethod
    def of(samples: Array) -> Memory:
        """From N x S x S x 3 unwrapped textures taken all along a track."""
        return Memory(np.median(samples.astype(np.float32), axis=0))


def features(flat: Array, usual: Array | None = None) -> Array:
    """What the occlusion network reads: 8 x S x S float32 of an unwrapped face and, if known, its usual texture.

    Frame (3), usual look (3), whether there is one, which texels belong to the face. Both are measured against the mean
    and spread of the usual look; one gain a channel, from the texels that agree best, brings the frame to its light.
    """
    face = texture.inside()
    found = np.zeros((8, *face.shape), np.float32)
    frame: Array = flat.astype(np.float32)
    known = frame if usual is None else usual.astype(np.float32)
    samples = known[_some()]
    mean = samples.mean(axis=0)
    scale = 1 / np.sqrt(((samples - mean) ** 2).mean() + 16)
    if usual is not None:
        frame = frame / _gain(frame[_some()], samples)
        found[3:6] = np.moveaxis((known - mean) * scale, 2, 0)
        found[6] = 1
    found[:3] = np.moveaxis((frame - mean) * scale, 2, 0)
    found[7] = 1
    return np.asarray(np.clip(found, -6, 6) * face, np.float32)


@cache
def _some() -> tuple[Array, Array]:
    """Every ninth texel of the face: enough for a mean."""
    rows, columns = np.nonzero(texture.inside())
    sparse = (rows % 3 == 0) & (columns % 3 == 0)
    return rows[sparse], columns[sparse]


def _gain(frame: Array, usual: Array) -> Array:
    """By how much each channel of N x 3 texels is brighter than usual, not misled by what covers a part of them."""
    ratio = (frame + 8) / (usual + 8)
    middle, most = len(ratio) // 2, int(0.6 * len(ratio))
    gain = np.sort(ratio, axis=0)[middle]
    for _ in range(2):
        agree = np.argsort(np.abs(ratio / gain - 1).max(axis=1))[:most]
        gain = np.sort(ratio[agree], axis=0)[most // 2]
    return np.asarray(np.clip(gain, 0.3, 3), np.float32)


@cache
def _network() -> ort.InferenceSession:
    """The network that comes with the package (`recipes/occlusion.py`), on one thread. Raises WeightsError."""
    path = weights.find("occlusion")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        raise WeightsError(f"{path} is no ONNX network that can be run here; install mien anew") from error


def odds(read: Array) -> Array:
    """The network's answer (S x S, 0..1) to one set of `features`."""
    return np.asarray(_network().run(None, {"features": read[None]})[0][0, 0])


def covered(flat: Array, points: Array, usual: Array | None = None) -> Array | None:
    """What is in front of an unwrapped face (uint8): S x S float32, 0..1, None where nothing is.

    points: the face's mesh; usual: what the track's face usually looks like. Specks are dropped, and what is found is a
    texel wider than it looks, so that no rim of the new face shines on a finger. Hair over the forehead isn't meant,
    see `skin`.
    """
    found, sure = odds(features(flat, usual)), SURE_ALONE if usual is None else SURE
    if np.count_nonzero(found * texture.inside() > sure[0]) < sure[1]:
        return None
    # Where skin turns away from the camera, the texture shows what is behind the head.
    visible = (texture.flatten(texture.visibility(points)) > 0.98) & texture.inside()
    if visible.sum() < TURNED * texture.inside().sum():
        sure = SURE_TURNED
    return cleaned(found * visible, sure)


def cleaned(found: Array, sure: tuple[float, int] = SURE) -> Array | None:
    """The network's answer without specks and a texel wider; None where nothing is left."""
    face = texture.inside()
    count, labels = cv2.connectedComponents(((found > LIKELY) & face).astype(np.uint8), connectivity=4)
    large = np.bincount(labels[(found > sure[0]) & face], minlength=count) >= sure[1]
    if not large.any():
        return None
    kept = large[labels].astype(np.uint8)
    near = cv2.dilate(kept, np.ones((3, 3), np.uint8))
    solid = cv2.morphologyEx(kept, cv2.MORPH_CLOSE, _disc(9))  # what lies between two fingers is the hand's
    soft = np.maximum(np.clip((found - 0.15) / 0.3, 0, 1) * near, solid)
    return np.asarray(cv2.blur(cv2.dilate(soft, _disc(3)), (3, 3)), np.float32)


@cache
def _disc(width: int) -> Array:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))


def seen(rgb: Array, points: Array, memory: Memory | None = None) -> Array:
    """H x W float32 of a face crop: 1 where the face itself is seen, 0 under hair, hats, hands and off the mesh."""
    flat = texture.unwrap(rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8), points)
    hidden = covered(flat, points, None if memory is None else memory.median)
    clear = skin(flat, hidden)
    if hidden is not None:
        clear = clear * (1 - hidden)
    height, width = rgb.shape[:2]
    # A texel of a large face spans many pixels: the mesh is drawn at about the texture's own resolution.
    step = max(int(texture.eye_distance(points) / GRAIN), 1)
    if step == 1:
        return texture.wrap(clear, points, width, height)
    small = (points + np.array([0.5, 0.5, 0], np.float32)) / step - np.array([0.5, 0.5, 0], np.float32)
    mask = texture.wrap(clear, small, -(-width // step), -(-height // step))
    back = np.array([[step, 0, (step - 1) / 2], [0, step, (step - 1) / 2]])
    return cv2.warpAffine(mask, back, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
