"""Before a face is swapped: protected people are refused, consents are found again; afterwards the file says what it is."""

from __future__ import annotations

import dataclasses
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pytest

import portraits
from mien import analysis, picture, provenance, systems
from mien.errors import InputError, SettingsError
from mien.guard import Guard, TrustSettings
from mien.jobs import Job, Result
from mien.trust import credentials, keys, ledger, mark, protected
from mien.types import Array, Consent, Manifest

AGREED = Consent("Anna", "Anna agreed", "a film", "2999-12-31")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("guard") / "photo.png"
    picture.save(path, picture.Picture(portraits.astronaut()), Manifest("test input"))
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def swap(photo: Path, home: Path, name: str = "out.png", source: Path | None = None, **settings: object) -> Result:
    who = source or portraits.composite(7)
    out = home.parent / name
    return Job(target=photo, out=out, source=(who,), home=home, **settings).run()  # type: ignore[arg-type]


def consent_of(result: Result) -> Consent:
    manifest = provenance.read(result.out)
    assert manifest is not None
    return manifest.consents[""]


def protect(home: Path, path: Path) -> None:
    guard = Guard(home, TrustSettings(), date.today())
    pixels = picture.load(path)
    vectors = guard.vectors(pixels, analysis.Settings().finder().find(pixels)[:1])
    protected.add(home, "Ben", vectors, guard.network)


def test_a_protected_source_is_refused(photo: Path, home: Path) -> None:
    protect(home, portraits.composite(7))
    with pytest.raises(InputError, match=r"the source is taken for Ben .*cosine 1\.00"):
        swap(photo, home)
    assert not (home.parent / "out.png").exists()
    assert swap(photo, home, source=photo).swapped == 1, "somebody else is not"


def test_a_protected_target_is_refused(photo: Path, home: Path, moving: Path) -> None:
    protect(home, photo)
    with pytest.raises(InputError, match=r"T1 of photo\.png is taken for Ben"):
        swap(photo, home)
    with pytest.raises(InputError, match=r"T1 of clip\.mp4 is taken for Ben"):
        swap(moving, home, "out.mp4")
    hidden = Job(target=photo, out=home.parent / "hidden.png", everyone=True, system="library", home=home).run()
    assert hidden.swapped, "to be hidden is no harm"


def test_a_list_that_cannot_be_read_stops_every_swap(photo: Path, home: Path) -> None:
    protect(home, photo)
    (entry,) = (home / "protected").glob("*.mien")
    entry.write_bytes(entry.read_bytes()[:-1])
    with pytest.raises(InputError, match="nobody is swapped"):
        swap(photo, home)


def test_a_consent_is_asked_for_once(photo: Path, home: Path, tmp_path: Path) -> None:
    first = consent_of(swap(photo, home, consent=AGREED))
    assert dataclasses.replace(first, record=None) == AGREED
    assert first.record
    other = tmp_path / "other.jpg"  # another photo: smaller, darker, mirrored
    rgb = picture.load(portraits.composite(7)).rgb()
    smaller = cv2.resize(rgb[:, ::-1], None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    picture.save(other, picture.Picture((smaller * 0.8).astype(np.uint8)), Manifest("test input"))
    assert consent_of(swap(photo, home, "again.png", source=other)) == first
    assert consent_of(swap(photo, home, "stranger.png", source=photo)) == Consent()


def test_who_is_forgotten_is_forgotten_by_the_ledger(photo: Path, home: Path) -> None:
    swap(photo, home, consent=AGREED)
    swap(photo, home, "other.png", source=photo)
    assert len(list((home / "ledger").iterdir())) == 2
    assert ledger.forget(home, "ANNA") == 1
    assert ledger.forget(home, "Anna") == 0
    assert len(list((home / "ledger").iterdir())) == 1


def test_a_consent_that_ended_counts_no_more(photo: Path, home: Path) -> None:
    swap(photo, home, consent=AGREED)
    guard = Guard(home, TrustSettings(), date(3000, 1, 1))
    pixels = picture.load(portraits.composite(7))
    people = {"": guard.vectors(pixels, analysis.Settings().finder().find(pixels)[:1])}
    assert guard.consents(people, Consent()) == {"": Consent()}
    assert "ended on 2999-12-31" in guard.warnings[0]
    with pytest.raises(InputError, match="ended on 2999-12-31: ask Anna anew"):
        guard.consents(people, AGREED)


def test_by_default_an_output_is_signed_marked_and_remembered(photo: Path, home: Path) -> None:
    out = swap(photo, home).out
    signed = credentials.read(out, list(keys.known(home).values()))
    assert signed is not None
    assert signed.state == "trusted"
    found = mark.find([picture.load(out).luma()])
    assert found is not None
    assert ledger.find(home, found.payload) == signed.manifest


def test_without_sign_and_mark(photo: Path, home: Path) -> None:
    out = swap(photo, home, trust={"sign": False, "mark": False}).out
    assert credentials.read(out) is None
    assert mark.find([picture.load(out).luma()]) is None
    assert not home.exists(), "nothing is kept for nothing"


def test_a_label_is_seen_where_a_face_was_swapped(photo: Path, home: Path) -> None:
    def corner(result: Result) -> Array:
        return picture.load(result.out).rgb()[-40:-8, 8:100].astype(int)

    bare = corner(swap(photo, home, trust={"mark": False}))
    assert (
        np.abs(bare - corner(swap(photo, home, "label.png", trust={"mark": False, "label": "composite"}))).max() > 100
    )
    nobody = Job(target=photo, out=home.parent / "nobody.png", home=home, trust={"label": "composite"}).run()
    np.testing.assert_array_equal(picture.load(nobody.out).rgb(), picture.load(photo).rgb())


def test_a_label_that_cannot_be_drawn_is_refused_before_any_work() -> None:
    with pytest.raises(SettingsError, match="plain letters"):
        TrustSettings(label="été")


def test_a_key_needs_its_certificate() -> None:
    with pytest.raises(SettingsError, match="--certificate and --key"):
        TrustSettings(key=Path("key.pem"))


@pytest.mark.parametrize("name", systems.names())
def test_a_system_says_whether_it_makes_pixels(name: str, photo: Path, tmp_path: Path) -> None:
    manifest = Job(target=photo, out=tmp_path / "out.png", system=name).manifest()
    kind = "compositeWithTrainedAlgorithmicMedia" if systems.generative(name) else "composite"
    assert provenance.source_type(manifest) == provenance.SOURCE_TYPE + kind
