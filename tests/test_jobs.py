"""A job is the same whoever asks for it, gives the same bytes twice, and says what it left alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import yaml

import mien
import portraits
from mien import picture, provenance
from mien.cast import read_cast
from mien.errors import InputError, NoFaceError, OutputError, SettingsError
from mien.jobs import Job
from mien.trust import mark
from mien.types import Consent, Manifest

LEFT = np.s_[:, :512]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photo.png has one face, twins.png the same face twice (the right one larger), and wall.png none."""
    folder = tmp_path_factory.mktemp("jobs")
    photo = portraits.astronaut()
    save(folder / "photo.png", photo)
    larger = np.kron(photo[30:286, 96:352], np.ones((2, 2, 1), np.uint8))
    save(folder / "twins.png", np.hstack([photo, larger]))
    save(folder / "wall.png", photo[400:500, 400:500])
    shutil.copy(portraits.composite(7), folder / "anna.jpg")
    return folder


def save(path: Path, rgb: np.ndarray) -> None:
    picture.save(path, picture.Picture(rgb), Manifest("test input"))


def pixels(path: Path) -> np.ndarray:
    return picture.load(path).rgb().astype(int)


def test_swap_from_python(folder: Path, tmp_path: Path) -> None:
    result = mien.swap(folder / "anna.jpg", folder / "photo.png", tmp_path / "out.png")
    assert result.swapped == result.frames == 1
    assert result.out == tmp_path / "out.png"
    assert "1 faces swapped" in result.summary()
    change = np.abs(pixels(result.out) - pixels(folder / "photo.png")).max(axis=2)
    assert change[70:180, 174:272].mean() > 5
    assert change[250:].mean() < 2, "only the mark"
    inside = provenance.read(result.out)
    assert inside is not None
    found = mark.find([picture.load(result.out).luma()])
    assert found is not None
    assert found.payload == mark.payload_of(inside.to_json())


def test_without_a_mark_only_the_face_is_touched(folder: Path, tmp_path: Path) -> None:
    result = mien.swap(folder / "anna.jpg", folder / "photo.png", tmp_path / "out.png", trust={"mark": False})
    change = np.abs(pixels(result.out) - pixels(folder / "photo.png")).max(axis=2)
    assert change[70:180, 174:272].mean() > 5
    assert not change[250:].any()


def test_the_same_job_gives_the_same_bytes_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    written = []
    for name in ("here", "somewhere else"):
        place = tmp_path / name
        place.mkdir()
        source, target = place / f"{name}.jpg", place / f"{name} target.png"
        shutil.copy(folder / "anna.jpg", source)
        shutil.copy(folder / "photo.png", target)
        result = Job(target=target, out=place / "out.png", source=(source,)).run()
        written.append((result.out.read_bytes(), result.manifest.read_bytes()))
    assert written[0] == written[1]


def test_the_manifest_holds_no_path_and_no_time(folder: Path, tmp_path: Path) -> None:
    job = Job(target=folder / "photo.png", out=tmp_path / "out.png", source=(folder / "anna.jpg",))
    text = json.dumps(job.run().manifest.read_text())
    for secret in (str(folder), "anna", "photo.png", date.today().isoformat()):
        assert secret not in text
    inside = provenance.read(tmp_path / "out.png")
    assert inside == job.manifest()
    assert inside.inputs == {
        "target": provenance.sha256(folder / "photo.png"), "/0": provenance.sha256(folder / "anna.jpg")
    }  # fmt: skip
    assert {"mesh", "parsing"} <= set(inside.weights)
    assert set(inside.settings["engines"]) == set(inside.weights)


def test_what_decides_a_pixel_decides_the_manifest(folder: Path, tmp_path: Path) -> None:
    def told(**settings: object) -> str:
        values = {"target": folder / "photo.png", "source": (folder / "anna.jpg",), **settings}
        return Job(out=tmp_path / "out.png", **values).manifest().to_json()  # type: ignore[arg-type]

    assert told() == told()
    others = [
        {"target": folder / "twins.png"}, {"source": (folder / "photo.png",)}, {"system": "library"}, {"seed": 1},
        {"options": {"eyes": "source"}}, {"compose": {"colour": "idt"}}, {"encode": {"quality": 30}},
        {"analyse": {"every": 3}}, {"consent": Consent("anna", "yes")}, {"chunk": 7},
    ]  # fmt: skip
    assert len({told(), *(told(**other) for other in others)}) == len(others) + 1


def test_an_analysis_that_is_named_is_an_input(moving: Path, analysed: Path, tmp_path: Path) -> None:
    manifest = Job(target=moving, out=tmp_path / "out.mp4", analysis=analysed).manifest()
    assert manifest.inputs["analysis"] == provenance.sha256(analysed)


def test_a_folder_of_photos(folder: Path, tmp_path: Path) -> None:
    """All its photos serve; the one without a face is named; a photo more changes the result."""
    anna = tmp_path / "anna"
    anna.mkdir()
    shutil.copy(portraits.composite(3), anna / "1.jpg")
    shutil.copy(portraits.composite(7), anna / "2.jpg")
    shutil.copy(folder / "wall.png", anna / "3.png")
    (anna / "notes.txt").write_text("no photo")
    both = Job(target=folder / "photo.png", out=tmp_path / "both.png", source=(anna,)).run()
    assert both.swapped == 1
    assert list(both.warnings) == [f"no face found in {anna / '3.png'}"]
    (anna / "1.jpg").unlink()
    one = Job(target=folder / "photo.png", out=tmp_path / "one.png", source=(anna,)).run()
    assert (pixels(one.out) != pixels(both.out)).any()


def test_the_largest_face_gets_the_source(folder: Path, tmp_path: Path) -> None:
    source, bare = (folder / "anna.jpg",), {"mark": False}
    result = Job(target=folder / "twins.png", out=tmp_path / "out.png", source=source, trust=bare).run()
    change = pixels(result.out) - pixels(folder / "twins.png")
    assert not change[LEFT].any()
    assert change.any()


def test_a_cast_names_who_becomes_whom(folder: Path, tmp_path: Path) -> None:
    cast = {"T2": (folder / "anna.jpg",)}
    job = Job(target=folder / "twins.png", out=tmp_path / "out.png", cast=cast, trust={"mark": False})
    change = pixels(job.run().out) - pixels(folder / "twins.png")
    assert change[LEFT].any()
    assert not change[:, 512:].any()


def test_everyone_is_hidden(folder: Path, tmp_path: Path) -> None:
    result = Job(target=folder / "twins.png", out=tmp_path / "out.png", everyone=True, system="library").run()
    assert result.swapped >= 2
    change = np.abs(pixels(result.out) - pixels(folder / "twins.png")).max(axis=2)
    for face in (np.s_[70:180, 174:272], np.s_[80:300, 668:864]):
        assert change[face].mean() > 4
    inside = provenance.read(result.out)
    assert inside is not None
    assert inside.action == "anonymise"


def test_nobody_is_swapped_without_a_cast(folder: Path, tmp_path: Path) -> None:
    result = Job(target=folder / "photo.png", out=tmp_path / "out.png").run()
    assert result.swapped == 0
    np.testing.assert_array_equal(pixels(result.out), pixels(folder / "photo.png"))


def test_a_jpeg_follows_the_quality(folder: Path, tmp_path: Path) -> None:
    sizes = []
    for quality in (18, 40):
        out = tmp_path / f"{quality}.jpg"
        Job(target=folder / "photo.png", out=out, encode={"quality": quality}).run()
        sizes.append(out.stat().st_size)
    assert sizes[0] > 1.5 * sizes[1]


def test_what_was_not_swapped_is_told(folder: Path, tmp_path: Path) -> None:
    """A clip that looks away: its first half shows the wall."""
    target = tmp_path / "clip"
    target.mkdir()
    for number in range(6):
        rgb = np.zeros((240, 240, 3), np.uint8) + 90 if number < 3 else portraits.view(number)
        save(target / f"{number:03d}.png", rgb)
    job = Job(target=target, out=tmp_path / "out.mp4", source=(folder / "anna.jpg",), analyse={"every": 1})
    result = job.run()
    assert (result.frames, result.swapped) == (6, 3)
    assert list(result.skipped) == [(0, 2, "T1", "no face")]
    assert "1 stretches" in result.summary()
    record = json.loads(result.manifest.read_text())["record"]
    assert record["not_swapped"] == [[0, 2, "T1", "no face"]]


def test_progress_is_told(moving: Path, analysed: Path, folder: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    job = Job(target=moving, out=tmp_path / "out.mp4", source=(folder / "anna.jpg",), encode={"preset": "ultrafast"})
    job.run(lambda *now: told.append(now))
    assert {stage for stage, _, _ in told} == {"swap"}, "the analysis was at hand"
    assert told[-1] == ("swap", portraits.FRAMES, portraits.FRAMES)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_what_a_job_would_do(folder: Path, tmp_path: Path) -> None:
    job = Job(target=folder / "photo.png", out=tmp_path / "out.png", source=(folder / "anna.jpg",), seed=4)
    told = yaml.safe_load(job.describe())
    assert told["settings"]["seed"] == 4
    assert told["settings"]["compose"]["colour"] == "none", "the default system sees to it"
    assert yaml.safe_load(replace(job, system="warp").describe())["settings"]["compose"]["colour"] == "mkl"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "settings, error, says",
    [
        ({"target": Path("none.png")}, InputError, "does not exist"),
        ({"source": (Path("none.png"),)}, InputError, "does not exist"),
        ({"source": (Path("wall.png"),)}, NoFaceError, "no face"),
        ({"target": Path("wall.png")}, NoFaceError, "nothing to swap"),
        ({"source": (), "cast": {"T7": (Path("anna.jpg"),)}}, InputError, "no T7"),
        ({"chunk": 0}, SettingsError, "chunk"),
        ({"everyone": True}, SettingsError, "one of source, cast and everyone"),
        ({"out": Path("photo.png")}, OutputError, "input itself"),
        ({"out": Path("anna.jpg")}, OutputError, "overwrite"),
    ],
)
def test_what_cannot_be_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], error: type[Exception], says: str
) -> None:
    monkeypatch.chdir(folder)
    values = {"target": Path("photo.png"), "out": Path("out.png"), "source": (Path("anna.jpg"),), **settings}
    with pytest.raises(error, match=says):
        Job(**values).run()  # type: ignore[arg-type]
    assert not Path("out.png").exists()


def test_a_cast_in_words_and_files(tmp_path: Path) -> None:
    listing = tmp_path / "cast.yaml"
    listing.write_text("T1: anna.jpg\nT2: [ben/1.jpg, ben/2.jpg]\n")
    assert read_cast(["T1=anna.jpg", "T2=folder"]) == {"T1": (Path("anna.jpg"),), "T2": (Path("folder"),)}
    assert read_cast([str(listing)]) == {
        "T1": (tmp_path / "anna.jpg",), "T2": (tmp_path / "ben/1.jpg", tmp_path / "ben/2.jpg")
    }  # fmt: skip
    assert read_cast([str(listing), "T1=other.jpg"])["T1"] == (Path("other.jpg"),)
    assert read_cast(["none"]) == {}
    assert read_cast(["T1=a=b.jpg"]) == {"T1": (Path("a=b.jpg"),)}


@pytest.mark.parametrize("text", ["- T1", "words", "{", "T1: {a: b}", "T1: 7", "T1: []", ""])
def test_cast_files_that_say_nothing(tmp_path: Path, text: str) -> None:
    listing = tmp_path / "cast.yaml"
    listing.write_text(text)
    with pytest.raises(InputError, match=r"T1: anna\.jpg"):
        read_cast([str(listing)])


@pytest.mark.parametrize("value", ["T1", "cast.txt", "=anna.jpg", "T1="])
def test_casts_that_say_nothing(value: str) -> None:
    with pytest.raises(SettingsError, match="--cast wants"):
        read_cast([value])
