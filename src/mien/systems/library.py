"""Library replacement: the best fitting face of a bank, for privacy.

Source: Bitouk, Kumar, Dhillon, Belhumeur, Nayar, "Face Swapping: Automatically Replacing Faces in Photographs", 2008.
As there, candidates are ranked by pose, colour, light and the seam they would leave, and one of the best is taken; what
differs: no pose bins but the mesh's own warp (expression and gaze stay), and the choice among the best ten is drawn by a
seed, so that who is shown says nothing about who was hidden. The shipped bank is composites of 11 people each: nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import cv2
import numpy as np

from mien.errors import NoFaceError
from mien.faces import align, reskin, texture
from mien.systems import AbstractSystem
from mien.types import Array, Crop, CropSpec, Identity, Pose, Swapped

CARDS: tuple[str, ...] = ("bank",)
GENERATIVE = False


@dataclass(frozen=True)
class Config(reskin.Style):
    """best: how many of the best ranked faces the seed chooses from; seed: the draw."""

    best: int = 10
    seed: int = 0


class System(AbstractSystem):
    """See the module's docstring. `enroll` takes crops of the face to be hidden; the identity is a bank face's gallery."""

    source_spec = CropSpec(align.NATIVE, None, margin=1.2)
    target_spec = CropSpec(align.NATIVE, None, margin=1.2)

    def __init__(self, config: Config) -> None:
        self.config = config

    def enroll(self, source: Sequence[Crop]) -> Identity:
        """Rank the bank for this face and draw one of the best."""
        if not source:
            raise NoFaceError("library needs a crop of the face that it is to hide")
        ranked = rank(source[0])
        # The draw depends on the face too, or all the people of a clip would become one person.
        salt = int.from_bytes(hashlib.sha256(source[0].rgb.tobytes()).digest()[:4], "big")
        random = np.random.default_rng([self.config.seed, salt])
        return bank()[ranked[random.integers(min(self.config.best, len(ranked)))]]

    def swap(self, who: Identity, targets: Sequence[Crop]) -> list[Swapped]:
        """Draw the chosen face on each target's mesh."""
        return [reskin.reskin(who, crop, self.config) for crop in targets]


@cache
def bank() -> list[dict[str, Array]]:
    """The galleries of the shipped composite faces."""
    folder = resources.files("mien") / "assets" / "bank"
    with (folder / "bank.npz").open("rb") as file:
        meshes = np.load(file, allow_pickle=False)["points"]
    return [reskin.gallery([composite(n, points)]) for n, points in enumerate(meshes)]


def composite(number: int, points: Array) -> Crop:
    """One face of the bank as a crop."""
    encoded = (resources.files("mien") / "assets" / "bank" / f"{number + 1:02d}.jpg").read_bytes()
    rgb = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert rgb is not None, "the bank's pictures come with the package"
    face = align.face(points, 1.0)
    return Crop(rgb, np.array([[1.0, 0, 0], [0, 1.0, 0]]), points, System.source_spec, face)


def rank(crop: Crop) -> list[int]:
    """Bank faces from best to worst for one face: each distance is divided by its median over the bank, then added."""
    target = _traits(texture.vertex_colours(_eight_bit(crop.rgb), crop.points), align.pose(crop.points))
    distances = []
    for who in bank():
        colours = texture.vertex_colours(who["rgba_0_0"][..., :3], who["points_0"])
        own = _traits(colours, align.pose(who["points_0"]))
        distances.append([float(np.linalg.norm(a - b)) for a, b in zip(target, own, strict=True)])
    table = np.array(distances)
    return [int(i) for i in np.argsort((table / (np.median(table, axis=0) + 1e-6)).sum(axis=1), kind="stable")]


def _traits(colours: Array, pose: Pose) -> tuple[Array, Array, Array, Array]:
    """What a fit depends on: pose (degrees), mean colour, light (colour against the mean, by vertex), the seam's colours."""
    values = colours.astype(np.float64)
    skin = values[texture.skin_vertices()]
    mean = skin.mean(axis=0)
    seam = values[texture.rings() == 1]
    return np.array([pose.yaw, pose.pitch]), mean, (skin / mean).mean(axis=1), (seam / mean).ravel()


def _eight_bit(rgb: Array) -> Array:
    return rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8)
