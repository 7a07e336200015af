"""Extraction on real and composite faces: what is cut, what it is said to be, and what is said when there is nothing."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import portraits
from mien import analysis, geometry, picture
from mien.errors import InputError, NoFaceError, OutputError, SettingsError
from mien.faces import align
from mien.faceset import extract, likeness, manage
from mien.faceset.store import FaceSet
from mien.types import Array

SMALL = extract.Settings(size=96)


def save(path: Path, rgb: Array) -> Path:
    Image.fromarray(rgb).save(path)
    return path


def face(number: int, side: int = 200) -> Array:
    """A composite face of the bank in the middle of a grey picture."""
    rgb = picture.load(portraits.composite(number)).rgb()
    scale = 0.7 * side / max(rgb.shape[:2])
    rgb = cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.full((side, side, 3), 128, np.uint8)
    top, left = (side - rgb.shape[0]) // 2, (side - rgb.shape[1]) // 2
    canvas[top : top + rgb.shape[0], left : left + rgb.shape[1]] = rgb
    return canvas


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the astronaut, three people in one picture, an empty one, and a jpeg that ends early."""
    folder = tmp_path_factory.mktemp("album")
    save(folder / "a.png", portraits.astronaut()[:260, 100:360])
    save(folder / "b.png", np.hstack([face(2), face(10), face(18)]))
    save(folder / "c.png", np.full((120, 120, 3), 90, np.uint8))
    whole = io.BytesIO()
    Image.fromarray(portraits.astronaut()).save(whole, "JPEG")
    (folder / "d.jpg").write_bytes(whole.getvalue()[:9000])
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def faces(album: Path, tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    return extract.extract(album, tmp_path_factory.mktemp("faces") / "set", SMALL)


def test_every_face_of_every_photo_is_there(faces: FaceSet, album: Path) -> None:
    assert faces.column("source").tolist() == [f"{album.name}/{name}.png" for name in "abbb"]
    assert faces.column("track").tolist() == [""] * 4
    assert faces.rgb(0).shape == (96, 96, 3)
    assert faces.spec == SMALL.spec


def test_what_was_left_out_is_named(faces: FaceSet) -> None:
    empty, cut = faces.about["warnings"]
    assert "no face found in" in empty
    assert "c.png" in empty
    assert "d.jpg is truncated" in cut


def test_the_crop_is_that_of_the_template(faces: FaceSet, album: Path) -> None:
    pixels = picture.load(album / "a.png")
    found = analysis.Settings().finder().find(pixels)[0]
    crop = align.crop(pixels, found, SMALL.spec)
    np.testing.assert_allclose(faces.points(0), crop.points, atol=0.01)
    in_frame = geometry.apply(faces.column("to_frame")[0], faces.points(0))
    np.testing.assert_allclose(in_frame, found.points, atol=0.01)
    assert np.abs(faces.rgb(0).astype(int) - crop.rgb).mean() < 2, "but for the jpeg"


def test_the_row_says_what_the_picture_shows(faces: FaceSet) -> None:
    mask = faces.mask(0)
    x, y = np.rint(faces.points(0)[4, :2]).astype(int)
    assert mask[y, x] == 255
    assert mask[0, 0] == 0
    lightness, a, b = faces.column("colour")[0]
    assert 40 < lightness < 90, "the astronaut's skin"
    assert 0 < a < 30
    assert 0 < b < 40
    assert 0.2 < faces.column("brightness")[0] < 0.9
    assert faces.column("sharpness")[0] > 0
    assert abs(np.linalg.norm(faces.column("identity")[0]) - 1) < 1e-5
    assert faces.column("shapes")[0].max() > 0.3, "she smiles"
    assert len(set(likeness.people(faces))) == 4


def test_sharpness_falls_when_the_photo_is_blurred(album: Path, tmp_path: Path) -> None:
    sharp = picture.load(album / "a.png").rgb()
    photos = [save(tmp_path / "a.png", sharp), save(tmp_path / "b.png", cv2.GaussianBlur(sharp, (0, 0), 3))]
    made = extract.extract(photos, tmp_path / "set", SMALL)
    assert made.column("sharpness")[1] < 0.7 * made.column("sharpness")[0]
    best = extract.extract(photos, tmp_path / "best", extract.Settings(size=96, sharpest=1))
    assert best.column("source").tolist() == ["a.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "best", "set"]


def test_the_person_of_a_photo_is_kept(album: Path, tmp_path: Path) -> None:
    photo = save(tmp_path / "who.png", face(10, 240))
    made = extract.extract(album / "b.png", tmp_path / "set", extract.Settings(size=96, person=(photo,), format="png"))
    assert len(made) == 1
    assert made.picture(0).suffix == ".png"
    assert manage.choose(made, manage.Choice(like=extract.like([photo]))).tolist() == [0]


def test_a_person_who_is_not_there_is_told(album: Path, tmp_path: Path) -> None:
    photo = save(tmp_path / "who.png", face(5))
    with pytest.raises(NoFaceError, match=r"nobody in .* is the person of the photos"):
        extract.extract(album / "b.png", tmp_path / "set", extract.Settings(person=(photo,)))
    with pytest.raises(NoFaceError, match="give a photo in which the face is seen well"):
        extract.extract(album / "b.png", tmp_path / "set", extract.Settings(person=(album / "c.png",)))
    assert [path.name for path in tmp_path.iterdir()] == ["who.png"]


def test_nothing_to_extract_leaves_nothing(album: Path, tmp_path: Path) -> None:
    with pytest.raises(NoFaceError, match=r"no face found in .*c\.png"):
        extract.extract(album / "c.png", tmp_path / "set")
    with pytest.raises(InputError, match="truncated"):
        extract.extract(album / "d.jpg", tmp_path / "set")
    with pytest.raises(InputError, match="does not exist"):
        extract.extract(album / "e.jpg", tmp_path / "set")
    with pytest.raises(InputError, match="given twice"):
        extract.extract([album, album], tmp_path / "set")
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputError, match="exists"):
        extract.extract(album, tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize(
    "values",
    [{"template": "oval"}, {"size": 32}, {"margin": 9.0}, {"every": 0}, {"format": "gif"}, {"sharpest": 0},
     {"track": "T1", "person": (Path("a.png"),)}],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        extract.Settings(**values)  # type: ignore[arg-type]


def test_a_clip_gives_its_tracks_frame_by_frame(analysed: Path, moving: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    made = extract.extract(moving, tmp_path / "set", SMALL, lambda *what: told.append(what))
    assert made.column("frame").tolist() == list(range(portraits.FRAMES))
    assert set(made.column("track")) == {"T1"}
    assert told[-1] == ("extract", portraits.FRAMES, portraits.FRAMES)
    assert {stage for stage, _, _ in told} == {"extract"}, "the analysis beside the clip is used"
    cosines = made.column("identity") @ made.column("identity")[0]
    assert cosines.min() > 0.7
    places = geometry.apply(made.column("to_frame")[12], made.points(12))
    assert np.hypot(*(places[4, :2] - portraits.SIDE / 2)) < 30, "her nose is near the middle"


def test_some_frames_of_one_track(analysed: Path, moving: Path, tmp_path: Path) -> None:
    made = extract.extract(moving, tmp_path / "set", extract.Settings(size=64, every=6, track="T1"))
    assert made.column("frame").tolist() == [0, 6, 12, 18]
    with pytest.raises(InputError, match="no track 'T7'"):
        extract.extract(moving, tmp_path / "none", extract.Settings(track="T7"))
    with pytest.raises(SettingsError, match="has no tracks"):
        extract.extract(save(tmp_path / "a.png", face(1)), tmp_path / "none", extract.Settings(track="T1"))


def test_a_clip_that_was_not_analysed_is_and_keeps_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    clip = portraits.clip(tmp_path / "clip" / "c.mp4", frames=8)
    made = extract.extract([clip, portraits.composite(3)], tmp_path / "set", SMALL)
    assert made.column("source").tolist() == ["c.mp4"] * 8 + [portraits.composite(3).name]
    assert [path.name for path in clip.parent.iterdir()] == ["c.mp4"]
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["faces", "faces.parquet", "masks", "set.json"]


@pytest.mark.shared
def test_a_real_clip_with_hands_before_the_face(shared: Path, tmp_path: Path) -> None:
    made = extract.extract(shared / "data/asl/book.mkv", tmp_path / "set", extract.Settings(size=64, every=4))
    assert len(made) >= 27
    assert likeness.people(made).max() == 0
    areas = np.array([(made.mask(i) > 127).mean() for i in range(len(made))])
    assert areas.min() < 0.97 * np.median(areas), "a hand hides some of it"
