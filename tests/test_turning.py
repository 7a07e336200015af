"""Faces turned into poses that a set lacks: which, by how much, and that they are what they are said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import facesets
from mien.errors import InputError, NoFaceError
from mien.faces import align, landmarks
from mien.faceset import manage, turning
from mien.faceset.store import FaceSet
from mien.runs import model


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return FaceSet.open(facesets.make(tmp_path_factory.mktemp("own") / "anna", 3))


@pytest.fixture(scope="module")
def turned(own: FaceSet) -> FaceSet:
    """Wanted: the same yaw, each looking up 12 degrees more."""
    with pytest.MonkeyPatch.context() as patch:
        found = turning.poses(own)
        patch.setattr(turning, "poses", lambda faces: found if faces is own else found - [0, 12])
        return turning.turn(own, FaceSet.open(own.folder), own.folder.with_name("turned"))


def test_only_what_lacks_is_turned_and_never_too_far() -> None:
    own, wanted = np.array([[0.0, 0], [10, 0]]), np.array([[1.0, 2], [10, -9], [0, -40]])
    (first, small), (_, large) = turning.plan(own, wanted)
    assert np.allclose(own[first] + small, [10, -9])
    assert np.hypot(*large) == pytest.approx(turning.FAR)
    assert large[1] < 0


def test_a_turned_face_is_read_as_turned(own: FaceSet, turned: FaceSet) -> None:
    assert len(turned) == len(own)
    landmarker, found = landmarks.default_landmarker(), []
    for faces in (own, turned):
        seen = [
            landmarker.landmarks(faces.rgb(i), [landmarks.roi_from_points(faces.points(i))])[0][0] for i in range(4)
        ]
        found.append(np.median([align.pose(points).pitch for points in seen]))
    assert -15 < found[1] - found[0] < -7
    assert np.median(turned.column("pitch")) - np.median(own.column("pitch")) == pytest.approx(-12, abs=3)


def test_it_is_still_the_same_person_and_told_apart_from_photos(own: FaceSet, turned: FaceSet) -> None:
    cosines = turned.column("identity") @ own.column("identity").mean(0)
    assert cosines.min() > 0.6
    assert all(source.endswith(turning.SOURCE) for source in turned.column("source").tolist())
    assert [(faces.folder, faces.names) for faces in turning.photos([turned, own])] == [(own.folder, own.names)]
    assert turning.photos([turned]) == [turned]
    both = manage.merge([own, turned], own.folder.with_name("both"))
    (alone,) = turning.photos([both])
    assert (len(both), alone.names) == (len(own) + len(turned), both.names[: len(own)])
    assert np.array_equal(alone.rgb(1), both.rgb(1))
    assert np.allclose(model.known("anna", [own, turned]).vector, model.known("anna", [own]).vector)
    assert model.known("anna", [own, turned]).faces == len(own) + len(turned)


def test_nothing_to_turn_is_told(own: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(NoFaceError, match="nothing to turn"):
        turning.turn(own, own, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_set_of_another_network_or_without_faces_is_told(own: FaceSet, tmp_path: Path) -> None:
    foreign = FaceSet(own.folder, own.spec, own.format, {**own.about, "identity": "another"}, own.table)
    with pytest.raises(InputError, match="another network"):
        turning.turn(foreign, own, tmp_path / "none")
    empty = FaceSet(own.folder, own.spec, own.format, own.about, own.table.slice(0, 0))
    with pytest.raises(NoFaceError, match="holds no face"):
        turning.turn(empty, own, tmp_path / "none")
    assert not (tmp_path / "none").exists()
