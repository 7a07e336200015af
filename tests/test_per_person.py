"""Models where photos stand: whom they draw, what a job says of them, and what is told when they can't be used."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import portraits
import tiny
from mien import analysis, per_person, picture, provenance, systems
from mien.errors import InputError, NoFaceError, SettingsError
from mien.faces import align, texture
from mien.faces.recognise import IdentityEmbedder
from mien.jobs import Job
from mien.nets import engines
from mien.trust import protected
from mien.types import Crop, Manifest


@pytest.fixture(scope="module")
def crops() -> list[Crop]:
    """Two composite faces, as a system is given them."""
    finder = analysis.Settings().finder()
    photos = [picture.load(portraits.composite(number)) for number in (3, 7)]
    return [align.crop(photo, finder.find(photo)[0], systems.load("warp").source_spec) for photo in photos]


@pytest.fixture
def model(tmp_path: Path, crops: list[Crop]) -> Path:
    """A tiny model of the two composite faces, with a picture of each."""
    folder = tmp_path / "run"
    shutil.copytree(tiny.model("df"), folder)
    told = json.loads((folder / "model.json").read_text())
    vectors = [IdentityEmbedder().embed(crop.rgb, crop.points[None])[0] for crop in crops]
    told["vectors"] = [(v / np.linalg.norm(v)).tolist() for v in vectors]
    (folder / "model.json").write_text(json.dumps(told))
    for name, number in zip(tiny.PEOPLE, (3, 7), strict=True):
        (folder / "people" / name).mkdir(parents=True)
        shutil.copy(portraits.composite(number), folder / "people" / name)
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target.png"
    picture.save(path, picture.Picture(portraits.astronaut()), Manifest("test input"))
    return path


def test_the_photo_tells_whom_to_draw(model: Path, crops: list[Crop]) -> None:
    system = systems.load("df", {"run": str(model)})
    assert [int(system.enroll([crop])["person"]) for crop in crops] == [0, 1]
    named = systems.load("df", {"run": str(model), "person": "ben"})
    assert int(named.enroll([crops[0]])["person"]) == 1


def test_drawn_in_bfloat16_it_looks_the_same(
    model: Path, target: Path, crops: list[Crop], monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = picture.load(target)
    drawn = []
    for fast in (False, True):
        monkeypatch.setattr(engines, "fast_bf16", lambda fast=fast: fast)
        system = systems.load("df", {"run": str(model)})
        crop = align.crop(photo, analysis.Settings().finder().find(photo)[0], system.target_spec)
        drawn += system.swap(system.enroll([crops[0]]), [crop])
    assert 0 < np.abs(drawn[0].rgb - drawn[1].rgb).max() < 2
    assert np.abs(drawn[0].alpha - drawn[1].alpha).max() < 0.02


def test_a_stranger_is_refused(model: Path) -> None:
    pixels = picture.Picture(portraits.astronaut())
    system = systems.load("df", {"run": str(model)})
    face = analysis.Settings().finder().find(pixels)[0]
    with pytest.raises(NoFaceError, match=r"nobody of .*anna, ben"):
        system.enroll([align.crop(pixels, face, system.source_spec)])
    with pytest.raises(SettingsError, match=r"no carl in .*anna, ben"):
        systems.load("df", {"run": str(model), "person": "carl"}).enroll([align.crop(pixels, face, system.source_spec)])


@pytest.mark.parametrize("place", ["", "people/ben"])
def test_a_job_takes_a_model_for_photos(model: Path, target: Path, tmp_path: Path, place: str) -> None:
    out = tmp_path / "out.png"
    assert Job(target, out, source=(model / place,)).run().swapped == 1
    manifest = provenance.read(out)
    assert manifest is not None
    assert manifest.settings["system"] == "df"
    assert manifest.inputs["run"] == json.loads((model / "model.json").read_text())["sha256"]
    assert str(tmp_path) not in manifest.to_json(), "no place on this machine"
    before, after = picture.load(target).array, picture.load(out).array
    assert np.abs(before.astype(int) - after).max() > 20


def test_a_protected_person_is_refused_whatever_the_photo_shows(
    model: Path, target: Path, tmp_path: Path, crops: list[Crop]
) -> None:
    options = {"run": str(model), "person": "ben"}
    who = systems.load("df", options).enroll([crops[0]])
    protected.add(tmp_path / "home", "Ben", who["vector"][None], per_person.read(model).network)
    out, photo = tmp_path / "out.png", portraits.composite(3)
    with pytest.raises(InputError, match="protected"):
        Job(target, out, source=(photo,), system="df", options=options, home=tmp_path / "home").run()
    assert not out.exists()


def test_another_system_draws_from_a_model_s_pictures(model: Path, target: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="was trained by df"):
        Job(target, tmp_path / "out.png", source=(model,), system="liae").run()
    assert Job(target, tmp_path / "out.png", source=(model,), system="warp").run().swapped == 1
    manifest = provenance.read(tmp_path / "out.png")
    assert manifest is not None
    assert manifest.settings["system"] == "warp"
    assert "run" not in manifest.inputs


def test_models_and_photos_are_not_mixed(model: Path, target: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="one trained model, or from photos"):
        Job(target, tmp_path / "out.png", source=(model, portraits.composite(3))).run()
    with pytest.raises(SettingsError, match="no carl"):
        Job(target, tmp_path / "out.png", source=(model,), options={"person": "carl"}).run()


def test_what_is_no_model(model: Path, tmp_path: Path, crops: list[Crop]) -> None:
    with pytest.raises(InputError, match="holds no trained model"):
        per_person.read(tmp_path)
    with pytest.raises(SettingsError, match="train one with `mien train`"):
        systems.load("df").enroll(crops)
    with pytest.raises(SettingsError, match="trained by the system 'df'"):
        systems.load("deepfakes", {"run": str(model)})
    told = json.loads((model / "model.json").read_text())
    for change, words in (
        ({"format": 9}, "format 9"),
        ({"people": []}, "not complete"),
        ({"vectors": "no"}, "damaged"),
    ):
        (model / "model.json").write_text(json.dumps(told | change))
        with pytest.raises(InputError, match=words):
            per_person.read(model)
    (model / "model.json").write_text(json.dumps(told))
    (model / "model.safetensors").write_bytes(b"another file")
    system = systems.load("df", {"run": str(model)})
    crop = align.crop(picture.Picture(portraits.astronaut()), crops[0].face, system.target_spec)
    with pytest.raises(InputError, match="not the file"):
        system.swap({"person": np.array(0)}, [crop])


def test_nothing_is_shown_at_the_rim() -> None:
    rim = per_person.rim(50)
    assert rim[0].max() == rim[:, -1].max() == 0
    assert (rim[3:-3, 3:-3] == 1).all()


def test_what_is_usually_hidden_of_a_person_is_not_drawn(tmp_path: Path, target: Path, crops: list[Crop]) -> None:
    """Of a person whose forehead nobody ever saw the target's stays."""
    folder = tmp_path / "half"
    shutil.copytree(tiny.model("deepfakes"), folder)
    told = json.loads((folder / "model.json").read_text())
    side = texture.UNWRAPPED
    seen = np.full((side, side), 255, np.uint8)
    seen[: side // 3] = 0
    told["seen"] = [base64.b64encode(seen.tobytes()).decode()] * 2
    (folder / "model.json").write_text(json.dumps(told))
    photo = picture.load(target)
    face = analysis.Settings().finder().find(photo)[0]
    alphas = []
    for run in (tiny.model("deepfakes"), folder):
        system = systems.load("deepfakes", {"run": str(run), "person": "ben"})
        crop = align.crop(photo, face, system.target_spec)
        alphas.append(system.swap(system.enroll([crops[0]]), [crop])[0].alpha)
    (whole, rest), brow = alphas, int(crop.points[9, 1])
    assert whole[:brow].sum() > 20
    assert rest[:brow].sum() < 0.3 * whole[:brow].sum()
    assert rest[brow + 8 :].sum() > 0.9 * whole[brow + 8 :].sum()
