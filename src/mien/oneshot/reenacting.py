"""A person's photos held as somebody else holds the head: which photos, rolled, turned in small steps, mixed.

Source: Nirkin, Keller, Hassner, "FSGAN", 2019, sections 3.2 and 3.3 (`faces.stepwise`, `faces.views`). What draws a step is a
network's matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from mien import geometry, image
from mien.errors import NoFaceError
from mien.faces import align, stepwise, views
from mien.oneshot.faces import TEMPLATE
from mien.types import Array, Crop, CropSpec, Identity, Pose

MOST = 24
"""Photos of a person that are kept."""
SPARE = 1.25
"""How much wider than a crop a photo is kept, so that it can be rolled."""
Step = Callable[[Tensor, Tensor], Tensor]
"""(pictures B x 3 x S x S in [-1, 1], meshes B x 478 x 2 in their pixels) -> the pictures' faces as the meshes are."""


def photo_spec(size: int) -> CropSpec:
    """How photos are cut out for crops of so many pixels."""
    return CropSpec(TEMPLATE, round(SPARE * size), SPARE)


def enrolled(source: Sequence[Crop]) -> Identity:
    """A person's photos: `pictures` (V x P x P x 3 uint8), `meshes` (V x 478 x 3, their pixels), `poses` (V x 3, degrees).

    Of photos that show nearly the same view one is kept; of more than `MOST`, views further apart. Raises NoFaceError without
    any.
    """
    if not source:
        raise NoFaceError("a photo of the person to draw is needed")
    poses = [align.pose(crop.points) for crop in source]
    kept, radius = views.choose(poses), views.RADIUS
    while len(kept) > MOST:
        radius *= 1.25
        kept = views.choose(poses, radius)
    return {
        "pictures": np.stack([image.to_8bit(source[i].rgb) for i in kept]),
        "meshes": np.stack([source[i].points for i in kept]).astype(np.float32),
        "poses": np.array([(poses[i].yaw, poses[i].pitch, poses[i].roll) for i in kept]),
    }


def reenacted(who: Identity, drivers: Sequence[Crop], step: Step) -> Tensor:
    """The person as in each driver, one or more of them: B x 3 x S x S, in the drivers' pixels. who: what `enrolled` gave."""
    side = len(drivers[0].rgb)
    known = views.Views([Pose(*map(float, pose)) for pose in who["poses"]])
    begin, ways, shares, whose = [], [], [], []
    for i, driver in enumerate(drivers):
        pose = align.pose(driver.points)
        weights = known.weights(pose)
        for view in np.flatnonzero(weights):
            turn = pose.roll - float(who["poses"][view][2])
            picture, mesh = rolled(who["pictures"][view], who["meshes"][view], turn, side)
            begin.append(picture)
            ways.append(stepwise.meshes(mesh, driver.points, stepwise.count(mesh, driver.points)))
            shares.append(weights[view])
            whose.append(i)
    drawn = torch.from_numpy(image.to_tensor(begin))
    for n in range(max(map(len, ways))):
        rows = [row for row, way in enumerate(ways) if n < len(way)]
        points = np.stack([ways[row][n][:, :2] for row in rows]).astype(np.float32)
        drawn[rows] = step(drawn[rows], torch.from_numpy(points))
    parts = drawn * torch.tensor(shares, dtype=torch.float32)[:, None, None, None]
    return torch.zeros(len(drivers), *drawn.shape[1:]).index_add_(0, torch.tensor(whose), parts)


def rolled(picture: Array, mesh: Array, degrees: float, side: int) -> tuple[Array, Array]:
    """A photo turned clockwise about its middle, cut to side x side, and its mesh."""
    a = np.radians(degrees)
    turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    middle = np.array(picture.shape[1::-1]) / 2 - 0.5
    matrix = np.column_stack([turn, side / 2 - 0.5 - turn @ middle])
    return image.warp(picture, matrix, (side, side)), geometry.apply(matrix, mesh)
