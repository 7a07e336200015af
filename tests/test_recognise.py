"""Whether faces are one person's, on real people."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

import portraits
from mien.errors import SettingsError, WeightsError
from mien.faces import find, recognise, topology
from mien.faces.landmarks import MeshLandmarker
from mien.faces.mtcnn import Mtcnn
from mien.faces.recognise import Dlib, Embedder, FakeEmbedder, IdentityEmbedder, MobileFaceNet, default_embedder
from mien.types import Array

PEOPLE = ("001", "007", "018", "032", "061", "086")


@pytest.fixture(scope="module")
def astronaut() -> tuple[Array, Array]:
    """A photo and the mesh of its face."""
    rgb = portraits.astronaut()
    return rgb, find(rgb, Mtcnn(60), MeshLandmarker(threads=1))[0].points


@pytest.fixture(scope="module", params=["mien", "mobilefacenet", "dlib"])
def embedder(request: pytest.FixtureRequest, shared: Path) -> Embedder:
    if request.param == "dlib" and not (find_spec("dlib") and find_spec("face_recognition_models")):
        pytest.skip("mien[dlib] is not installed")
    return default_embedder(request.param, mirror=shared / "weights")


@pytest.fixture(scope="module")
def people(shared: Path) -> dict[str, tuple[Array, Array]]:
    """Photos of six people, neutral and smiling, with the five points of MTCNN."""
    detector, photos = Mtcnn(80), {}
    for person in PEOPLE:
        for look in ("neutral", "smiling"):
            name = f"{person}_{look}"
            rgb = cv2.cvtColor(cv2.imread(str(shared / "data" / "london" / f"{name}.jpg")), cv2.COLOR_BGR2RGB)
            photos[name] = (rgb, detector.detect(rgb)[0].points)
    return photos


def test_every_embedder_parts_same_from_different(embedder: Embedder, people: dict[str, tuple[Array, Array]]) -> None:
    neutral, smiling = (
        np.concatenate([embedder.embed(people[f"{p}_{look}"][0], people[f"{p}_{look}"][1][None]) for p in PEOPLE])
        for look in ("neutral", "smiling")
    )
    assert neutral.dtype == np.float32
    assert np.allclose(np.linalg.norm(neutral, axis=1), 1, atol=1e-5)
    table, same = neutral @ smiling.T, np.eye(len(PEOPLE), dtype=bool)
    assert table[same].min() > embedder.same > table[~same].max()


def test_faces_of_one_picture_go_together(embedder: Embedder, astronaut: tuple[Array, Array]) -> None:
    rgb, mesh = astronaut
    several = np.stack([mesh, mesh + 2, mesh - 2])
    together = embedder.embed(rgb, several)
    assert len(together) == 3
    np.testing.assert_allclose(together, np.concatenate([embedder.embed(rgb, m[None]) for m in several]), atol=2e-2)
    assert embedder.embed(rgb, several[:0]).shape == (0, together.shape[1])


def test_a_person_is_known_in_other_conditions(astronaut: tuple[Array, Array]) -> None:
    rgb, mesh = astronaut
    ours = IdentityEmbedder()
    (plain,) = ours.embed(rgb, mesh[None])
    small = cv2.resize(rgb, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    copies = {
        "dark": ours.embed((rgb * 0.5).astype(np.uint8), mesh[None])[0],
        "grey": ours.embed(np.repeat(rgb.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2), mesh[None])[0],
        "blurred": ours.embed(cv2.GaussianBlur(rgb, (0, 0), 2), mesh[None])[0],
        "small": ours.embed(small, (mesh[None] + 0.5) * 0.4 - 0.5)[0],
    }
    assert {name for name, vector in copies.items() if plain @ vector < ours.same} == set()
    shown = portraits.composite(1)
    other = cv2.cvtColor(cv2.imread(str(shown)), cv2.COLOR_BGR2RGB)
    stranger = find(other, Mtcnn(60), MeshLandmarker(threads=1))[0].points
    assert plain @ ours.embed(other, stranger[None])[0] < ours.same


def test_a_mesh_gives_what_its_five_points_give(astronaut: tuple[Array, Array]) -> None:
    rgb, mesh = astronaut
    five = topology.five(mesh)[:, :2]
    assert np.array_equal(recognise.aligned(rgb, mesh[None])[0], recognise.aligned(rgb, five[None])[0])


@pytest.mark.skipif(not (find_spec("dlib") and find_spec("face_recognition_models")), reason="needs mien[dlib]")
def test_dlib_takes_five_points_nearly_for_the_mesh(astronaut: tuple[Array, Array]) -> None:
    rgb, mesh = astronaut
    judge = Dlib()
    (of_mesh,), (of_five,) = judge.embed(rgb, mesh[None]), judge.embed(rgb, topology.five(mesh)[None, :, :2])
    assert of_mesh @ of_five > 0.9


def test_dlib_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognise, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"mien\[dlib\]"):
        default_embedder("dlib")


def test_fake_tells_flat_colours_apart() -> None:
    embedder, points = FakeEmbedder(), np.full((1, 5, 2), 4.0)
    red, blue = (np.full((8, 8, 3), colour, np.uint8) for colour in ((200, 20, 20), (20, 20, 200)))
    (a,), (b,) = embedder.embed(red, points), embedder.embed(blue, points)
    assert a @ a > embedder.same > a @ b


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(default_embedder(), IdentityEmbedder)
    assert isinstance(default_embedder("mien"), IdentityEmbedder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SettingsError, match="choose from"):
        default_embedder("arcface")
    with pytest.raises(WeightsError, match="mobilefacenet"):
        default_embedder("mobilefacenet")
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match="get it anew"):
        MobileFaceNet(tmp_path / "broken.onnx")


@pytest.mark.skipif(not (find_spec("dlib") and find_spec("face_recognition_models")), reason="needs mien[dlib]")
def test_dlib_can_leave_its_mean_on(astronaut: tuple[Array, Array]) -> None:
    rgb, mesh = astronaut
    (raw,), (centred,) = Dlib(centred=False).embed(rgb, mesh[None]), Dlib().embed(rgb, mesh[None])
    assert np.linalg.norm(raw) == pytest.approx(1, abs=1e-5)
    assert raw @ centred < 0.8
