"""Who a swapped face is: judges, what they see, and the figures made of their vectors."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

import portraits
from mien import weights
from mien.errors import SettingsError
from mien.evaluate import identity
from mien.evaluate.identity import Judge, Retrieval, bare, cosine, judges, mean_vector, retrieval, swap_gap
from mien.faces import align, find, recognise, topology
from mien.faces.landmarks import MeshLandmarker
from mien.faces.mtcnn import Mtcnn
from mien.faces.recognise import FakeEmbedder
from mien.types import Array

HAS_DLIB = bool(find_spec("dlib") and find_spec("face_recognition_models"))
PEOPLE = ("001", "007", "018", "032", "061", "086")


def seen(rgb: Array, smallest: int = 60) -> tuple[Array, Array]:
    return rgb, find(rgb, Mtcnn(smallest), MeshLandmarker(threads=1))[0].points


@pytest.fixture(scope="module")
def astronaut() -> tuple[Array, Array]:
    return seen(portraits.astronaut())


@pytest.fixture(scope="module")
def composite() -> tuple[Array, Array]:
    return seen(cv2.cvtColor(cv2.imread(str(portraits.composite(1))), cv2.COLOR_BGR2RGB))


@pytest.fixture(scope="module")
def ours() -> Judge:
    return judges(["mien"])[0]


@pytest.fixture(scope="module")
def people(shared: Path) -> dict[str, tuple[Array, Array]]:
    """Photos of six people, neutral and smiling, with their meshes."""
    folder = shared / "data" / "london"
    names = [f"{person}_{look}" for person in PEOPLE for look in ("neutral", "smiling")]
    return {n: seen(cv2.cvtColor(cv2.imread(str(folder / f"{n}.jpg")), cv2.COLOR_BGR2RGB), 80) for n in names}


@pytest.mark.skipif(not HAS_DLIB, reason="needs mien[dlib]")
def test_the_independent_judge_comes_first_and_says_so(shared: Path) -> None:
    found = judges(["mien", "mobilefacenet", "dlib"], mirror=shared / "weights")
    assert [(j.name, j.independent) for j in found] == [("dlib", True), ("mobilefacenet", False), ("mien", False)]
    assert identity.absent(identity.NAMES, found) == ()


def test_a_judge_that_is_not_there_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(recognise, "find_spec", lambda name: None)
    found = judges()
    assert [judge.name for judge in found] == ["mien"]
    assert identity.absent(identity.NAMES, found) == ("dlib", "mobilefacenet")
    with pytest.raises(SettingsError, match="no judge is called 'arcface'; choose from dlib"):
        judges(["arcface"])


@pytest.mark.parametrize("name", identity.NAMES)
@pytest.mark.parametrize("hair", [True, False])
def test_judges_part_same_from_different(
    shared: Path, people: dict[str, tuple[Array, Array]], name: str, hair: bool
) -> None:
    if name == "dlib" and not HAS_DLIB:
        pytest.skip("mien[dlib] is not installed")
    (judge,) = judges([name], mirror=shared / "weights")
    neutral, smiling = (
        np.concatenate(
            [judge.embed(people[f"{p}_{look}"][0], people[f"{p}_{look}"][1][None], hair=hair) for p in PEOPLE]
        )
        for look in ("neutral", "smiling")
    )
    assert neutral.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(neutral, axis=1), 1, atol=1e-5)
    table, same = neutral @ smiling.T, np.eye(len(PEOPLE), dtype=bool)
    assert table[same].min() > judge.strangers(hair=hair) > table[~same].max()
    assert abs(table[~same].mean()) < 0.12, "strangers are at right angles once centred"
    assert retrieval(smiling, PEOPLE, neutral, PEOPLE) == Retrieval(1.0, 1.0, 6, 6, 6)


def test_what_is_taken_off_is_stated() -> None:
    table = json.loads((weights.ASSETS / "judges.json").read_text())
    assert "London" in table["source"]
    assert set(table["judges"]) == set(identity.NAMES)
    for views in table["judges"].values():
        for view in ("whole", "bare"):
            assert len(views[view]["mean"]) == 128
            assert 0 < np.linalg.norm(views[view]["mean"]) < 1
            assert 0.2 < views[view]["strangers"] < 0.8


def test_without_hair_nothing_but_the_face_is_seen(astronaut: tuple[Array, Array], ours: Judge) -> None:
    """Other hair, another background: the bare score doesn't change at all, the whole one does."""
    rgb, points = astronaut
    shown = bare(rgb, points)
    assert (shown[:20] == identity.GREY).all()
    assert (shown[:, :60] == identity.GREY).all()
    nose = tuple(np.rint(points[4, :2]).astype(int))
    assert (shown[nose[1], nose[0]] == rgb[nose[1], nose[0]]).all()
    face = np.zeros(rgb.shape[:2], np.uint8)
    cv2.fillPoly(face, [np.rint(points[list(topology.OVAL), :2]).astype(np.int32)], 1)
    other = np.where(face[..., None] > 0, rgb, np.roll(rgb[::-1], 60, axis=1))
    kept = {
        h: float(cosine(ours.embed(rgb, points[None], hair=h), ours.embed(other, points[None], hair=h))[0])
        for h in (True, False)
    }
    assert kept[False] > 0.999
    assert kept[True] < 0.97


def test_the_mask_follows_a_turned_head(composite: tuple[Array, Array]) -> None:
    """The grey edge is the mesh's, so that it holds as much of the face on either side when the head is rolled."""
    rgb, points = composite
    height, width = rgb.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 30, 1.0)
    rolled = cv2.warpAffine(rgb, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    there = points.copy()
    there[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    a, b = (np.any(bare(x, p) != identity.GREY, axis=2).sum() for x, p in ((rgb, points), (rolled, there)))
    assert a == pytest.approx(b, rel=0.02)
    assert 0.5 < a / np.prod(np.subtract(align.box(points)[2:], align.box(points)[:2])) < 0.85


def test_several_faces_none_and_one_at_the_edge(astronaut: tuple[Array, Array], ours: Judge) -> None:
    rgb, points = astronaut
    both = np.stack([points, points + 2])
    for hair in (True, False):
        assert ours.embed(rgb, both, hair=hair).shape == (2, 128)
        assert ours.embed(rgb, both[:0], hair=hair).shape == (0, 128)
        gone = points - np.array([260, 0, 0], np.float32)  # wholly left of the picture
        assert np.isfinite(ours.embed(rgb, gone[None], hair=hair)).all()


def test_any_embedder_can_judge() -> None:
    judge = Judge("flat colours", FakeEmbedder(), independent=True)
    red, blue = (np.full((60, 60, 3), colour, np.uint8) for colour in ((200, 20, 20), (20, 20, 200)))
    points = np.full((1, 478, 3), 30.0, np.float32)
    a, b = judge.embed(red, points)[0], judge.embed(blue, points)[0]
    assert cosine(a, a) == pytest.approx(1)
    assert cosine(a, b) < 0.5


def test_cosine_and_gap() -> None:
    source, target = np.array([1.0, 0, 0]), np.array([0, 2.0, 0])
    assert cosine(source, source * 5) == pytest.approx(1)
    assert cosine(source, target) == 0
    assert swap_gap(source, source, target) == pytest.approx(1)
    assert swap_gap(target, source, target) == pytest.approx(-1), "copying the target is the worst there is"
    between = np.stack([source, source + target / 2, target])
    np.testing.assert_allclose(swap_gap(between, source, target), [1, 0, -1], atol=1e-12)
    assert cosine(np.zeros(3), source) == 0


def test_several_photos_make_one_vector() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 1, 128)
    photos = true + rng.normal(0, 0.8, (8, 128))
    photos[0] *= 100  # one photo counts as much as another
    mean = mean_vector(photos)
    assert np.linalg.norm(mean) == pytest.approx(1)
    assert cosine(mean, true) > cosine(photos, true).max()


def test_retrieval_counts_people_not_frames() -> None:
    """Many frames of one clip take one place among the five."""
    rng = np.random.default_rng(1)
    centres = np.eye(8, 16)
    gallery = np.repeat(centres, 10, axis=0) + rng.normal(0, 0.01, (80, 16))
    owners = [f"p{i // 10}" for i in range(80)]
    query = centres[0] + 0.5 * centres[1] + 0.4 * centres[2] + 0.3 * centres[3] + 0.2 * centres[4] + 0.1 * centres[5]
    told = {f"p{i}": retrieval(query[None], [f"p{i}"], gallery, owners) for i in range(6)}
    assert told["p0"] == Retrieval(1.0, 1.0, 80, 8, 1)
    assert [told[f"p{i}"].top1 for i in range(1, 6)] == [0] * 5
    assert [told[f"p{i}"].top5 for i in range(6)] == [1, 1, 1, 1, 1, 0]


def test_retrieval_of_what_cannot_be_found() -> None:
    gallery, owners = np.eye(3), ["a", "b", "c"]
    assert retrieval(np.eye(3), ["a", "b", "nobody"], gallery, owners).top1 == pytest.approx(2 / 3)
    assert retrieval(np.eye(3), ["a", "b", "nobody"], gallery, owners).top5 == pytest.approx(2 / 3)
    nan = np.full((1, 3), np.nan)
    assert retrieval(nan, ["a"], gallery, owners).top1 == 0
    assert retrieval(np.zeros((1, 3)), ["a"], gallery, owners).top1 == 0, "a tie is not found"
    assert retrieval(np.zeros((0, 3)), [], gallery, owners) == Retrieval(0.0, 0.0, 3, 3, 0)
    with pytest.raises(ValueError, match="one name"):
        retrieval(np.eye(3), ["a"], gallery, owners)


def test_worse_is_always_worse(astronaut: tuple[Array, Array], composite: tuple[Array, Array], ours: Judge) -> None:
    """The less of the source is mixed in, the lower every figure: a dozen pairs, by vectors and by pixels."""
    rng = np.random.default_rng(0)
    source, target = rng.normal(0, 1, (2, 128))
    for seed in range(12):
        rng = np.random.default_rng(seed)
        little, much = np.sort(rng.uniform(0, 1, 2))
        noise = rng.normal(0, 0.2, 128)
        a, b = (s * source + (1 - s) * target + noise for s in (little, much))
        assert cosine(a, source) < cosine(b, source)
        assert swap_gap(a, source, target) < swap_gap(b, source, target)
        gallery = np.concatenate([source[None], target[None], rng.normal(0, 1, (30, 128))])
        owners = ["source", "target", *(str(i) for i in range(30))]
        crowds = [
            np.tile(s * source + (1 - s) * target, (40, 1)) + np.random.default_rng(seed).normal(0, 2, (40, 128))
            for s in (0.5 * little, 0.5 + 0.5 * much)
        ]
        found = [retrieval(crowd, ["source"] * 40, gallery, owners) for crowd in crowds]
        assert found[0].top1 < found[1].top1
    rgb, points = astronaut
    own = ours.embed(rgb, points[None])[0]
    blurred = [ours.embed(cv2.GaussianBlur(rgb, (0, 0), s), points[None])[0] for s in (2, 4, 6, 9)]
    assert np.all(np.diff([cosine(v, own) for v in blurred]) < 0)
