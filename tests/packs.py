"""A pack of composite faces and of what the mesh makes of them."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

import portraits
from mien import analysis, pack, picture
from mien.faces import align, variants
from mien.faces.recognise import IdentityEmbedder
from mien.oneshot.faces import TEMPLATE
from mien.types import CropSpec, Pose

TURNS = (0.0, -14.0, 14.0)
"""Degrees of yaw of each person's pictures; the first is the photo."""


@cache
def composites(people: int = 4, size: int = 64) -> pack.Pack:
    """So many people, each turned by TURNS; the last one is held out."""
    finder, embedder = analysis.Settings().finder(), IdentityEmbedder()
    rgb, points, person, origin = [], [], [], []
    for number in range(people):
        photo = picture.load(portraits.composite(number + 1))
        crop = align.crop(photo, finder.find(photo)[0], CropSpec(TEMPLATE, size))
        for yaw in TURNS:
            face, mesh = variants.turn(crop.rgb, crop.points, Pose(yaw, 0.0, 0.0)) if yaw else (crop.rgb, crop.points)
            rgb.append(face)
            points.append(mesh)
            person.append(number)
            origin.append(number * len(TURNS))
    vectors = np.concatenate([embedder.embed(face, mesh[None]) for face, mesh in zip(rgb, points, strict=True)])
    people_of = torch.tensor(person)
    pictures, meshes = np.stack(rgb).transpose(0, 3, 1, 2).copy(), np.stack(points)[..., :2].astype(np.float32)
    return pack.Pack(
        torch.from_numpy(pictures), torch.from_numpy(meshes),
        people_of, torch.tensor(origin), torch.zeros(len(rgb), 3), torch.from_numpy(vectors),
        (people_of == people - 1).to(torch.uint8), torch.zeros(len(rgb), dtype=torch.uint8), (), {},
    )  # fmt: skip
