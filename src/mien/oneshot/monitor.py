"""Whether a one-shot network goes wrong in one of the ways such networks do: it copies, it forgets the pose, it brings the
source's hair.

Looked at between two stretches of a training, on people it doesn't learn from. The thresholds are where a training should be
looked at, not where it is good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mien import image
from mien.faces import align, landmarks
from mien.oneshot import losses
from mien.oneshot.faces import recogniser
from mien.phases import Drawn
from mien.types import Array

COPIES, FORGETS, IMPORTS = 0.05, 0.5, 0.25
ROUND = 0.06
"""How far round the mesh a drawing may change, over the picture's width."""


@dataclass(frozen=True)
class Seen:
    """What a network does to N targets.

    gap: mean cosine to the source less that to the target, by the network that training knows; pose: degrees of the drawing's
    yaw a degree of the target's, nan where targets are turned alike; hair: how far what surrounds the face went from the target
    to the source, 0..1; psnr: of targets drawn as themselves, dB; mask: mean of the drawn mask, nan without one.
    """

    gap: float
    pose: float
    hair: float
    psnr: float
    mask: float

    def troubles(self) -> Iterator[str]:
        """What is wrong and what helps, a line each."""
        if self.gap < COPIES:
            yield f"it copies the target (gap {self.gap:.2f}): fewer pairs of one person, more weight of the identity"
        if self.pose < FORGETS:
            yield f"it forgets the pose ({self.pose:.2f} degrees of yaw a degree): less weight of the identity"
        if self.hair > IMPORTS:
            yield f"it brings the source's surroundings ({self.hair:.2f}): judge identities without hair, a tighter mask"


@torch.no_grad()
def see(drawn: Drawn, itself: Drawn, targets: Tensor, sources: Tensor, points: Array, faces: Tensor) -> Seen:
    """What a network did to targets. drawn: as their sources; itself: as themselves.

    targets, sources: N x 3 x S x S in [-1, 1] on `faces.TEMPLATE`; points: the targets' meshes, N x 478 x 2 or 3, in their
    pixels; faces: N x 1 x S x S, the inside of them.
    """
    know = recogniser(targets.device)
    wanted, own = know(sources), know(targets)
    rgb = drawn.rgb.float()
    vectors = know(rgb)
    error = ((itself.rgb.float() - targets).square().mean((1, 2, 3)) / 4).clamp(min=1e-8)
    return Seen(
        float(((vectors * wanted).sum(1) - (vectors * own).sum(1)).mean()),
        _follows(_yaws(rgb, points), _yaws(targets, points)),
        _imported(rgb, targets, sources, 1 - losses.grown(faces, ROUND)),
        float((-10 * error.log10()).mean()),
        float("nan") if drawn.mask is None else float(drawn.mask.float().mean()),
    )


def _yaws(pictures: Tensor, points: Array) -> Array:
    """Yaw of each face by the mesh network, looked for where the target's mesh is."""
    landmarker = landmarks.default_landmarker()
    found = []
    for picture, mesh in zip(image.from_tensor(pictures.cpu().numpy()), points, strict=True):
        seen, _ = landmarker.landmarks(picture, [landmarks.roi_from_points(mesh)])
        found.append(align.pose(seen[0]).yaw)
    return np.array(found)


def _follows(drawn: Array, target: Array) -> float:
    spread = target - target.mean()
    return float((spread * drawn).sum() / (spread**2).sum()) if np.abs(spread).max() > 1 else float("nan")


def _imported(drawn: Tensor, targets: Tensor, sources: Tensor, where: Tensor) -> float:
    """The share of the way from target to source that the drawing went, over the pixels of `where`."""
    way = (sources - targets) * where
    return float(((drawn - targets) * way).sum() / way.square().sum().clamp(min=1e-6))
