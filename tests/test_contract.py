"""What every system promises, over every system that the folder holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import portraits
import tiny
from mien import analysis, systems
from mien.errors import NoFaceError, SettingsError
from mien.faces import align
from mien.picture import Picture, load
from mien.types import Crop, Face

SYSTEMS = systems.names()
every_system = pytest.mark.parametrize("name", SYSTEMS)


@pytest.fixture(scope="module")
def finder() -> analysis.Finder:
    return analysis.Settings().finder()


@pytest.fixture(scope="module")
def photo() -> Picture:
    return Picture(portraits.astronaut())


@pytest.fixture(scope="module")
def face(finder: analysis.Finder, photo: Picture) -> Face:
    return finder.find(photo)[0]


@pytest.fixture(scope="module")
def sources(finder: analysis.Finder) -> list[tuple[Picture, Face]]:
    pictures = [load(portraits.composite(number)) for number in (3, 7)]
    return [(picture, finder.find(picture)[0]) for picture in pictures]


def loaded(name: str, options: Mapping[str, Any] | None = None) -> systems.AbstractSystem:
    """A system as it comes; one that draws from a file of its user's, from the smallest there is."""
    return systems.load(name, {**tiny.options(name), **(options or {})})


def enrolled(system: systems.AbstractSystem, sources: list[tuple[Picture, Face]]) -> dict[str, np.ndarray]:
    return dict(system.enroll([align.crop(picture, face, system.source_spec) for picture, face in sources]))


def well_formed(system: systems.AbstractSystem, crop: Crop, who: dict[str, np.ndarray]) -> np.ndarray:
    """Swap one crop and check the answer's shapes and ranges; returns its rgb in 0..1."""
    [swapped] = system.swap(who, [crop])
    assert swapped.rgb.shape == crop.rgb.shape
    assert swapped.alpha.shape == crop.rgb.shape[:2]
    assert swapped.alpha.dtype == np.float32
    assert np.isfinite(swapped.alpha).all()
    assert 0 <= swapped.alpha.min() <= swapped.alpha.max() <= 1
    assert np.isfinite(swapped.rgb).all()
    full = 255 if swapped.rgb.dtype.kind == "f" else np.iinfo(swapped.rgb.dtype).max
    assert 0 <= swapped.rgb.min() <= swapped.rgb.max() <= full
    return np.asarray(swapped.rgb, np.float64) / full


def test_the_folder_is_listed() -> None:
    assert {"library", "warp"} <= set(SYSTEMS)


@every_system
def test_it_declares_itself(name: str) -> None:
    assert len(systems.summary(name)) > 20
    assert all(isinstance(card, str) for card in systems.cards(name))
    system = loaded(name)
    for spec in (system.source_spec, system.target_spec):
        assert spec.template in (*align.TEMPLATES, align.NATIVE)
        assert (spec.size is None) == (spec.template == align.NATIVE)
        assert spec.margin > 0


@every_system
def test_a_real_photo(name: str, photo: Picture, face: Face, sources: list[tuple[Picture, Face]]) -> None:
    system = loaded(name)
    crop = align.crop(photo, face, system.target_spec)
    who = enrolled(system, sources)
    assert all(isinstance(value, np.ndarray) for value in who.values())
    rgb = well_formed(system, crop, who)
    [swapped] = system.swap(who, [crop])
    middle = tuple(np.rint(crop.points[4, 1::-1]).astype(int))
    assert swapped.alpha[middle] > 0.9, "the nose is swapped"
    assert swapped.alpha[0].max() < 0.5, "the crop's edge is not"
    sure = swapped.alpha > 0.9
    assert np.abs(rgb - crop.rgb / 255)[sure].mean() > 0.02, "somebody else is seen"


@every_system
def test_many_crops_are_answered_in_order(
    name: str, photo: Picture, face: Face, sources: list[tuple[Picture, Face]]
) -> None:
    system = loaded(name)
    who = enrolled(system, sources)
    faces = [face, align.face(face.points + np.array([3, 1, 0], np.float32), 1.0)]
    crops = [align.crop(photo, each, system.target_spec) for each in faces]
    answers = system.swap(who, crops)
    assert len(answers) == 2
    for crop, answer in zip(crops, answers, strict=True):
        assert answer.rgb.shape == crop.rgb.shape
    assert system.swap(who, []) == []


@every_system
def test_it_is_determined(name: str, photo: Picture, face: Face, sources: list[tuple[Picture, Face]]) -> None:
    answers = []
    for _ in range(2):
        system = loaded(name)
        crop = align.crop(photo, face, system.target_spec)
        answers += system.swap(enrolled(system, sources), [crop])
    np.testing.assert_array_equal(answers[0].rgb, answers[1].rgb)
    np.testing.assert_array_equal(answers[0].alpha, answers[1].alpha)


@every_system
def test_an_identity_can_be_saved(
    name: str, photo: Picture, face: Face, sources: list[tuple[Picture, Face]], tmp_path: Path
) -> None:
    system = loaded(name)
    crop = align.crop(photo, face, system.target_spec)
    who = enrolled(system, sources)
    np.savez(tmp_path / "who.npz", allow_pickle=False, **who)
    with np.load(tmp_path / "who.npz", allow_pickle=False) as file:
        again = dict(file)
    before, after = (system.swap(identity, [crop])[0] for identity in (who, again))
    np.testing.assert_array_equal(before.rgb, after.rgb)
    np.testing.assert_array_equal(before.alpha, after.alpha)


@every_system
@pytest.mark.parametrize("shift", [(-215, 0), (0, -125), (290, 0), (0, 390), (-600, 0)], ids=str)
def test_a_face_cut_by_the_edge(
    name: str, photo: Picture, face: Face, sources: list[tuple[Picture, Face]], shift: tuple[int, int]
) -> None:
    """The picture is moved under the face, so that only a part of it, or nothing, is inside."""
    system = loaded(name)
    rolled = Picture(np.roll(photo.array, shift, axis=(1, 0)))
    moved = align.face(face.points + np.array([*shift, 0], np.float32), 1.0)
    well_formed(system, align.crop(rolled, moved, system.target_spec), enrolled(system, sources))
    cut_source = system.enroll([align.crop(rolled, moved, system.source_spec)])
    well_formed(system, align.crop(photo, face, system.target_spec), dict(cut_source))


@every_system
def test_sixteen_bits(name: str, photo: Picture, face: Face, sources: list[tuple[Picture, Face]]) -> None:
    """The same target and the same sources, deeper: the same face."""
    system = loaded(name)
    deep = Picture(photo.array.astype(np.uint16) * 257)
    who = enrolled(system, sources)
    flat_rgb = well_formed(system, align.crop(photo, face, system.target_spec), who)
    deep_rgb = well_formed(system, align.crop(deep, face, system.target_spec), who)
    apart = np.abs(flat_rgb - deep_rgb)
    assert (apart.mean() if systems.trainable(name) else apart.max()) < 0.02, "a network drawn at random is restless"
    deep_sources = [(Picture(p.array.astype(np.uint16) * 257), f) for p, f in sources]
    well_formed(system, align.crop(photo, face, system.target_spec), enrolled(system, deep_sources))


@every_system
def test_a_tiny_face(name: str, photo: Picture, face: Face, sources: list[tuple[Picture, Face]]) -> None:
    system = loaded(name)
    small = Picture(np.ascontiguousarray(photo.array[::8, ::8]))
    tiny = align.face(face.points / 8, 1.0)
    well_formed(system, align.crop(small, tiny, system.target_spec), enrolled(system, sources))


@every_system
def test_nobody_cannot_be_enrolled(name: str) -> None:
    with pytest.raises(NoFaceError):
        loaded(name).enroll([])


@every_system
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="nobody"):
        systems.load(name, {**tiny.options(name), "nobody": 1})


@every_system
def test_every_option_has_a_default_that_can_be_said(name: str) -> None:
    config = loaded(name).config  # type: ignore[attr-defined]
    assert dataclasses.is_dataclass(config)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, dataclasses.fields(config)[0].name, None)
    assert type(loaded(name, dataclasses.asdict(config)).config) is type(config)  # type: ignore[attr-defined]
    assert replace(config) == config


def test_unknown_systems_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"nobody.*library.*warp"):
        systems.load("nobody")
    with pytest.raises(SettingsError, match="cannot import"):
        systems.load("no_such_lab.system")


def test_the_library_hides_two_people_behind_two_faces_and_follows_its_seed(
    photo: Picture, face: Face, sources: list[tuple[Picture, Face]]
) -> None:
    def chosen(seed: int, picture: Picture, who: Face) -> bytes:
        system = systems.load("library", {"seed": seed})
        return dict(system.enroll([align.crop(picture, who, system.source_spec)]))["points_0"].tobytes()

    draws = [chosen(seed, photo, face) for seed in range(12)]
    assert 2 <= len(set(draws)) <= 10, "one of the best ten"
    assert draws[0] == chosen(0, photo, face)
    others = {chosen(0, *source) for source in sources} | {draws[0]}
    assert len(others) > 1
