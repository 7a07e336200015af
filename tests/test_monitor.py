"""Each way in which a one-shot network goes wrong is told, by networks that are built to go wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import packs
from mien import pairs
from mien.oneshot import losses, monitor
from mien.phases import Drawn

Faces = tuple[Tensor, Tensor, np.ndarray, Tensor]


@pytest.fixture(scope="module")
def faces() -> Faces:
    """Targets turned to both sides, the next person's photo as the source, meshes, masks."""
    pack = packs.composites(size=128)
    rows = (torch.arange(len(pack)) % len(packs.TURNS) > 0).nonzero()[:, 0]
    photos = (pack.person[rows] + 1) % 4 * len(packs.TURNS)
    targets, sources = (pack.rgb[each].float() / 127.5 - 1 for each in (rows, photos))
    return targets, sources, pack.points[rows].numpy(), pairs.hulls(pack, rows.numpy()).float() / 255


def see(faces: Faces, drawn: Tensor) -> monitor.Seen:
    """What is said of a network that draws this, whoever is asked for."""
    targets, sources, points, masks = faces
    return monitor.see(Drawn(drawn), Drawn(drawn), targets, sources, points, masks)


def test_a_copy_is_told(faces: Faces) -> None:
    seen = see(faces, faces[0])
    assert seen.gap < -0.3
    assert seen.psnr > 60
    assert seen.pose == pytest.approx(1, abs=0.01)
    assert [line.split(" the")[0] for line in seen.troubles()] == ["it copies"]


def test_a_pose_that_is_forgotten_is_told(faces: Faces) -> None:
    """Everybody looks ahead: the source's own photo, whatever the target does."""
    seen = see(faces, faces[1])
    assert seen.gap > 0.3
    assert abs(seen.pose) < 0.3
    assert any("forgets the pose" in line for line in seen.troubles())


def test_hair_that_comes_along_is_told(faces: Faces) -> None:
    targets, sources, _, masks = faces
    face = torch.nn.functional.max_pool2d(masks, 9, 1, 4)
    seen = see(faces, torch.lerp(sources, targets, face))
    assert seen.hair > 0.4
    assert any("surroundings" in line for line in seen.troubles())


def test_a_pasted_face_keeps_pose_and_surroundings(faces: Faces) -> None:
    """The source, turned as the target, inside the target's face."""
    pack = packs.composites(size=128)
    rows = torch.arange(len(pack))[torch.arange(len(pack)) % len(packs.TURNS) > 0]
    turned = (pack.person[rows] + 1) % 4 * len(packs.TURNS) + rows % len(packs.TURNS)
    face = losses.grown(faces[3], monitor.ROUND)
    seen = see(faces, torch.lerp(faces[0], pack.rgb[turned].float() / 127.5 - 1, face))
    assert seen.gap > see(faces, faces[0]).gap + 0.2
    assert not [line for line in seen.troubles() if "copies" not in line]
    assert np.isnan(seen.mask)
