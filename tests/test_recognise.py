"""Whether faces look alike, on real people."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mien import weights
from mien.errors import SettingsError, WeightsError
from mien.faces import topology
from mien.faces.mtcnn import Mtcnn
from mien.faces.recognise import Embedder, FakeEmbedder, MobileFaceNet, TextureEmbedder, default_embedder
from mien.types import Array

SHARED = Path(__file__).parents[1].parent / "shared"
LONDON = SHARED / "data" / "london"
PEOPLE = ("001", "007", "018", "032", "061", "086")


@pytest.fixture(scope="module")
def people() -> dict[str, tuple[Array, Array]]:
    """Photos of six people, neutral and smiling, with the five points of MTCNN."""
    if not LONDON.is_dir():
        pytest.skip("no shared/data beside the checkout")
    detector, photos = Mtcnn(80), {}
    for person in PEOPLE:
        for look in ("neutral", "smiling"):
            name = f"{person}_{look}"
            rgb = cv2.cvtColor(cv2.imread(str(LONDON / f"{name}.jpg")), cv2.COLOR_BGR2RGB)
            photos[name] = (rgb, detector.detect(rgb)[0].points)
    return photos


def cosines(embedder: Embedder, people: dict[str, tuple[Array, Array]]) -> Array:
    """Neutral against smiling, person by person."""
    neutral, smiling = (
        np.array([embedder.embed(*people[f"{p}_{look}"]) for p in PEOPLE]) for look in ("neutral", "smiling")
    )
    assert np.allclose(np.linalg.norm(neutral, axis=1), 1, atol=1e-5)
    return np.asarray(neutral @ smiling.T)


@pytest.mark.shared
def test_texture_knows_each_person_by_another_photo(people: dict[str, tuple[Array, Array]]) -> None:
    table = cosines(TextureEmbedder(), people)
    assert (table.argmax(axis=1) == np.arange(len(PEOPLE))).all()


@pytest.mark.shared
def test_texture_does_not_mind_exposure_and_size(people: dict[str, tuple[Array, Array]]) -> None:
    rgb, points = people["001_neutral"]
    embedder = TextureEmbedder()
    plain = embedder.embed(rgb, points)
    dim = embedder.embed((rgb * 0.8).astype(np.uint8), points)
    small = embedder.embed(cv2.resize(rgb, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), points / 4)
    assert plain @ dim > 0.97
    assert plain @ small > 0.93


@pytest.mark.shared
def test_mobilefacenet_parts_same_from_different(people: dict[str, tuple[Array, Array]]) -> None:
    mirror = SHARED / "weights"
    if not weights.available("mobilefacenet", mirror=mirror):
        pytest.skip("the MobileFaceNet file is not there")
    embedder = default_embedder(mirror=mirror)
    assert isinstance(embedder, MobileFaceNet)
    table = cosines(embedder, people)
    same = np.eye(len(PEOPLE), dtype=bool)
    assert table[same].min() > embedder.same > table[~same].max()


def test_a_mesh_gives_what_its_five_points_give() -> None:
    rgb = np.random.default_rng(1).integers(0, 255, (120, 120, 3), np.uint8)
    five = np.array([[40, 50], [75, 52], [58, 70], [43, 90], [72, 91]], np.float32)
    mesh = np.zeros((topology.POINTS, 3), np.float32)
    mesh[list(topology.FIVE), :2] = five
    embedder = TextureEmbedder()
    assert np.allclose(embedder.embed(rgb, mesh), embedder.embed(rgb, five), atol=1e-6)


def test_fake_tells_flat_colours_apart() -> None:
    embedder, points = FakeEmbedder(), np.full((5, 2), 4.0)
    red, blue = (np.full((8, 8, 3), colour, np.uint8) for colour in ((200, 20, 20), (20, 20, 200)))
    assert embedder.embed(red, points) @ embedder.embed(red, points) > embedder.same
    assert embedder.embed(red, points) @ embedder.embed(blue, points) < embedder.same


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert isinstance(default_embedder(), TextureEmbedder)
    with pytest.raises(SettingsError, match="choose from"):
        default_embedder("arcface")
    with pytest.raises(WeightsError, match="mobilefacenet"):
        default_embedder("mobilefacenet")
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError, match="get it anew"):
        MobileFaceNet(tmp_path / "broken.onnx")
