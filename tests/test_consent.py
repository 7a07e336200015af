"""Consents: what counts as one, that another photo finds it, that a changed one isn't believed, that forgetting forgets."""

from __future__ import annotations

import base64
import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from mien.errors import InputError, MienError, NoFaceError, OutputError
from mien.trust import consent, keys, likeness, vault
from mien.types import Array, Consent
from vectors import NETWORK, person, photo

TODAY = date(2026, 11, 21)
GIVEN = Consent("Anna", "I agree to be in the film", "film X", "2027-01-31")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> keys.Signer:
    return keys.local(tmp_path_factory.mktemp("keys"))


def keep(folder: Path, signer: keys.Signer, who: Array, given: Consent = GIVEN, day: date = TODAY) -> consent.Record:
    return consent.record(folder, given, who, NETWORK, day, signer.sign, signer.verify)


def file_of(folder: Path, record: consent.Record) -> Path:
    return folder / "consents" / f"{record.id}.json"


def test_words_are_a_consent() -> None:
    assert consent.read(None) == Consent()
    assert consent.read(" yes, for the film ") == Consent(None, "yes, for the film")
    assert consent.read("Anna agreed on the phone until 2027-01-31").until == "2027-01-31"
    assert consent.read("a" * 5000).statement == "a" * 5000, "too long for a file's name is no error"


def test_a_file_is_a_consent(tmp_path: Path) -> None:
    text, table = tmp_path / "Anna.txt", tmp_path / "anna.yaml"
    text.write_text("I agree until 2027-01-31.\n", encoding="utf-8")
    assert consent.read(str(text)) == Consent("Anna", "I agree until 2027-01-31.", None, "2027-01-31")
    table.write_text("person: Anna\npurpose: film X\nuntil: 2027-01-31\nstatement: I agree to be in the film\n")
    assert consent.read(str(table)) == GIVEN
    table.write_text("statement: I agree\n")
    assert consent.read(str(table)) == Consent(None, "I agree")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"", "needs words"),
        ("a.txt", b" \n", "needs words"),
        ("a.txt", b"\xff\xfe\x00", "plain text"),
        ("a.txt", b"word " * 3000, "too long"),
        ("a.txt", b"until 2027-02-30", "no day"),
        ("a.yaml", b"person: [", "no YAML"),
        ("a.yaml", b"person: Anna\n", "statement"),
        ("a.yaml", b"- statement\n", "statement"),
        ("a.yaml", b"statement: yes to all\nwhen: now\n", "keys"),
        ("a.yaml", b"statement: 7\n", "texts"),
        ("a.yaml", b"statement: I agree\nuntil: tomorrow\n", "no day"),
        ("a.yaml", b"statement:\n", "needs words"),
    ],
)
def test_no_consent(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        consent.read(str(path))
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["", "  ", "anna.txt", "papers/anna.yml"])
def test_a_missing_file_is_no_statement(value: str) -> None:
    with pytest.raises(InputError):
        consent.read(value)


def test_a_sketch_gives_the_cosine_back() -> None:
    salt = b"s" * 32
    for cosine, spread in ((0.0, 0.035), (0.4, 0.033), (0.7, 0.022), (0.95, 0.006)):
        pairs = [(person(i), photo(person(i), cosine, 1000 + i)[0]) for i in range(120)]
        found = [likeness.cosine(likeness.sketch(a, salt), likeness.sketch(b, salt)) for a, b in pairs]
        assert abs(np.mean(found) - cosine) < 0.015
        assert 0.5 * spread < np.std(found) < 1.5 * spread


def test_another_salt_tells_nothing() -> None:
    sketches = [likeness.sketch(person(0), bytes([i]) * 32) for i in range(20)]
    assert max(abs(likeness.cosine(sketches[0], other)) for other in sketches[1:]) < 0.12


def test_another_photo_finds_the_record(tmp_path: Path, signer: keys.Signer) -> None:
    anna, ben = person(1), person(2)
    made = keep(tmp_path, signer, photo(anna, 0.95))
    keep(tmp_path, signer, ben, Consent("Ben", "I agree"))
    registry = consent.load(tmp_path, signer.verify)
    assert registry.doubted == ()
    found = registry.find(photo(anna, 0.9, seed=3), NETWORK, TODAY)
    assert found is not None
    assert found.record == made
    assert found.record.consent == replace(GIVEN, record=made.id)
    assert found.cosine == pytest.approx(0.86, abs=0.08)
    assert not found.expired
    assert registry.find(photo(anna, 0.62, seed=4), NETWORK, TODAY) is None, "a stranger who looks like her"
    assert registry.find(anna, "cd" * 32, TODAY) is None, "vectors of other weights can't be compared"
    assert consent.load(tmp_path / "elsewhere", signer.verify).find(anna, NETWORK, TODAY) is None


def test_several_photos_are_one_person(tmp_path: Path, signer: keys.Signer) -> None:
    anna = person(1)
    keep(tmp_path, signer, np.concatenate([photo(anna, 0.75, seed) for seed in range(4)]))
    registry = consent.load(tmp_path, signer.verify)
    assert registry.find(photo(anna, 0.9, 9), NETWORK, TODAY) is not None
    with pytest.raises(NoFaceError):
        registry.find(np.zeros((1, 128)), NETWORK, TODAY)


def test_neither_vector_nor_photo_is_kept(tmp_path: Path, signer: keys.Signer) -> None:
    anna = person(1)
    path = file_of(tmp_path, keep(tmp_path, signer, anna))
    value = json.loads(path.read_text())["record"]
    assert set(value) == {"id", "network", "person", "purpose", "recorded", "sketch", "statement", "until"}
    sketch = base64.b64decode(value["sketch"])
    assert len(sketch) == likeness.BITS // 8
    # Whoever has the file but not the salt can't tell even with the vector in hand.
    guessed = likeness.sketch(anna, b"another salt of the right length")
    assert abs(likeness.cosine(sketch, guessed)) < 0.2
    for kept in (path, path.with_name("salt")):
        assert os.name != "posix" or kept.stat().st_mode & 0o077 == 0


def test_the_same_words_are_kept_once(tmp_path: Path, signer: keys.Signer) -> None:
    anna = person(1)
    first = keep(tmp_path, signer, anna)
    assert keep(tmp_path, signer, photo(anna, 0.9), day=date(2026, 12, 1)) == first
    assert keep(tmp_path, signer, anna, replace(GIVEN, purpose="film Y")).id != first.id
    assert keep(tmp_path, signer, person(2)).id != first.id
    assert len(list((tmp_path / "consents").glob("*.json"))) == 3
    with pytest.raises(InputError, match="nothing to record"):
        keep(tmp_path, signer, anna, Consent())


def test_an_ended_consent_is_told_as_such(tmp_path: Path, signer: keys.Signer) -> None:
    anna = person(1)
    keep(tmp_path, signer, anna, replace(GIVEN, until="2026-11-20"))
    (found,) = [consent.load(tmp_path, signer.verify).find(anna, NETWORK, TODAY)]
    assert found is not None
    assert found.expired
    assert "ended" in found.record.line(TODAY)
    valid = keep(tmp_path, signer, photo(anna, 0.85), replace(GIVEN, until="2026-11-21"))
    found = consent.load(tmp_path, signer.verify).find(anna, NETWORK, TODAY)
    assert found is not None
    assert found.record == valid, "the last day still counts, and a valid consent goes before a nearer one"
    assert not found.expired


@pytest.mark.parametrize(
    "change",
    [
        {"person": "Ben"},
        {"purpose": "film Y"},
        {"until": None},
        {"until": "2099-01-01"},
        {"statement": "anything goes"},
        {"network": "cd" * 32},
        {"sketch": base64.b64encode(bytes(likeness.BITS // 8)).decode()},
        {"recorded": "2020-01-01"},
        {"until": "soon"},
        {"sketch": "?"},
        {"person": ["Anna"]},
    ],
)
def test_a_changed_record_is_not_believed(tmp_path: Path, signer: keys.Signer, change: dict[str, str]) -> None:
    anna = person(1)
    path = file_of(tmp_path, keep(tmp_path, signer, anna))
    value = json.loads(path.read_text())
    value["record"] |= change
    path.write_text(json.dumps(value))
    registry = consent.load(tmp_path, signer.verify)
    assert registry.records == ()
    assert registry.find(anna, NETWORK, TODAY) is None
    (line,) = registry.doubted
    assert path.name in line
    assert "not believed" in line


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"record": {}, "signature": ""}', b"{" * 9999]
)
def test_a_damaged_record_is_not_believed(tmp_path: Path, signer: keys.Signer, content: bytes) -> None:
    good = keep(tmp_path, signer, person(2), Consent("Ben", "I agree"))
    file_of(tmp_path, keep(tmp_path, signer, person(1))).write_bytes(content)
    registry = consent.load(tmp_path, signer.verify)
    assert registry.records == (good,)
    assert len(registry.doubted) == 1
    assert consent.forget(tmp_path, "Anna") == 0


def test_a_record_stays_under_its_name_and_key(tmp_path: Path, signer: keys.Signer) -> None:
    path = file_of(tmp_path, keep(tmp_path, signer, person(1)))
    other = keys.local(tmp_path / "other")
    assert len(consent.load(tmp_path, other.verify).doubted) == 1
    path.rename(path.with_name("0123456789abcdef.json"))
    assert len(consent.load(tmp_path, signer.verify).doubted) == 1


def test_a_lost_salt_is_said(tmp_path: Path, signer: keys.Signer) -> None:
    keep(tmp_path, signer, person(1))
    salt = tmp_path / "consents" / "salt"
    salt.write_bytes(salt.read_bytes()[:-1])
    with pytest.raises(InputError, match="salt is damaged"):
        consent.load(tmp_path, signer.verify)
    salt.unlink()
    with pytest.raises(InputError, match="salt is missing"):
        consent.load(tmp_path, signer.verify)


def test_forgetting(tmp_path: Path, signer: keys.Signer) -> None:
    assert consent.forget(tmp_path, "Anna") == 0
    assert not consent.any_in(tmp_path)
    keep(tmp_path, signer, person(1))
    changed = file_of(tmp_path, keep(tmp_path, signer, person(1), replace(GIVEN, purpose="film Y")))
    changed.write_text(changed.read_text().replace("film Y", "film Z"))
    ben = keep(tmp_path, signer, person(2), Consent("Ben", "I agree"))
    assert consent.forget(tmp_path, "  aNNA ") == 2, "also the one that isn't believed"
    assert [r.id for r in consent.load(tmp_path, signer.verify).records] == [ben.id]
    assert consent.any_in(tmp_path)
    assert consent.forget(tmp_path, ben.id) == 1
    assert not consent.any_in(tmp_path)
    assert [p.name for p in (tmp_path / "consents").iterdir()] == ["salt"]


def test_nothing_half_written(tmp_path: Path, signer: keys.Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    keep(tmp_path, signer, person(1))
    before = sorted((tmp_path / "consents").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            keep(tmp_path, signer, person(2))
    assert sorted((tmp_path / "consents").iterdir()) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(MienError):
        keep(tmp_path / "file", signer, person(2))


def test_two_that_draw_a_secret_at_once_get_the_same(tmp_path: Path) -> None:
    for turn in range(20):
        path = tmp_path / str(turn) / "salt"
        with ThreadPoolExecutor(4) as pool:
            drawn = set(pool.map(lambda _, p=path: vault.secret(p, 32, make=True), range(4)))
        assert drawn == {path.read_bytes()}
        assert [p.name for p in path.parent.iterdir()] == ["salt"]
