"""Faces as they would look in poses that a set lacks: turned with their mesh, so that a model learns to draw them there.

A model is asked for the poses of its targets. Where its person never held the head so, it draws the nearest pose that it knows:
the swap looks elsewhere than the target. A face turned by up to some 20 degrees (`faces.variants`) is read by the mesh network
as turned by 85 to 90 of 100 of that; beyond, skin would have to be invented.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from mien import weights
from mien.errors import InputError, NoFaceError
from mien.faces import align, recognise, variants
from mien.faceset.describe import measured
from mien.faceset.store import FaceSet, Writer, identity_weights
from mien.types import Array, Pose

NEAR, FAR = 4.0, 20.0
"""Degrees within which a set has a pose, and by which a face is turned at most."""
AMONG = 8
"""Of so many nearest faces one is turned: not always the same one."""
SOURCE = " (turned)"
"""What the source's name of such a face ends in."""


def photos(sets: Sequence[FaceSet]) -> list[FaceSet]:
    """The faces of some sets that no mesh made: who somebody is, they tell. All, where there are no others."""
    found = []
    for faces in sets:
        real = pc.invert(pc.ends_with(faces.table["source"], SOURCE))
        found.append(FaceSet(faces.folder, faces.spec, faces.format, faces.about, faces.table.filter(real)))
    return [faces for faces in found if len(faces)] or list(sets)


def poses(faces: FaceSet) -> Array:
    """Yaw and pitch of every face, N x 2 degrees."""
    return np.column_stack([faces.column("yaw"), faces.column("pitch")]).astype(np.float64)


def plan(own: Array, wanted: Array, seed: int = 1) -> list[tuple[int, Array]]:
    """(face, turn) for each pose of `wanted` (M x 2) that `own` (N x 2) lacks; a pose out of reach is come as near to as
    possible."""
    chance = np.random.default_rng(seed)
    found = []
    for pose in wanted:
        away = np.hypot(*(own - pose).T)
        if away.min() <= NEAR:
            continue
        pick = int(chance.choice(np.argsort(away, kind="stable")[:AMONG]))
        turn = pose - own[pick]
        found.append((pick, turn * min(1.0, FAR / float(np.hypot(*turn)))))
    return found


def turn(faces: FaceSet, like: FaceSet, out: Path, overwrite: bool = False) -> FaceSet:
    """A new set: faces of `faces`, turned into the poses of `like` that they lack, one for each such face of it.

    Raises NoFaceError where none is lacking or there is none to turn, InputError for a set that knows its people by another
    network, OutputError.
    """
    if not len(faces):
        raise NoFaceError(f"{faces.folder} holds no face: extract one that does")
    if faces.about.get("identity") != identity_weights():
        raise InputError(f"{faces.folder} knows its people by another network than this version: extract it anew")
    steps = plan(poses(faces), poses(like))
    if not steps:
        raise NoFaceError(f"{faces.folder} has every pose of {like.folder}: there is nothing to turn")
    embedder = recognise.default_embedder(mirror=weights.mirror_from_environment())
    about = {**faces.about, "turned": {"set": faces.folder.name, "like": like.folder.name}}
    with Writer(out, faces.spec, about, overwrite, faces.format) as writer:
        for i, (yaw, pitch) in steps:
            points = variants.turned(faces.points(i), Pose(float(yaw), float(pitch), 0.0))
            rgb = variants.drawn(faces.rgb(i), faces.points(i), points)
            mask = variants.drawn(np.dstack([faces.mask(i)] * 3), faces.points(i), points)[..., 0]
            pose = align.pose(points)
            row = {name: faces.column(name)[i] for name in ("frame", "to_frame", "score")}
            row |= {"source": f"{faces.column('source')[i]}{SOURCE}", "track": str(faces.column("track")[i])}
            row |= {"yaw": pose.yaw, "pitch": pose.pitch, "roll": pose.roll}
            writer.add(rgb, mask, row | measured(rgb, mask, points, embedder))
    return FaceSet.open(out)
