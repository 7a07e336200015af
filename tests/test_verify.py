"""What mien verify says: of what is whole, what was changed, stripped, forged, or made by another key."""

from __future__ import annotations

import dataclasses
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

import clips
import portraits
from mien import picture, provenance, video
from mien.errors import InputError
from mien.trust import certificates, keys, ledger
from mien.trust.credentials import Seal
from mien.trust.mark import Stamp, payload_of
from mien.types import Consent, Frame, Manifest
from mien.verify import Verdict, describe, lines, verify

MADE = Manifest(
    "swap",
    {"target": "ab" * 32, "/0": "cd" * 32},
    {"mesh": "12" * 32},
    {"system": "warp", "generative": False},
    {"mien": "0.1.0"},
    {"": Consent("Anna", "I agree", "a film")},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with a key and one run."""
    made = tmp_path_factory.mktemp("user")
    keys.local(made)
    ledger.keep(made, MADE)
    return made


@pytest.fixture
def out(tmp_path: Path, folder: Path) -> Path:
    """A marked, signed picture with its sidecar."""
    signer = keys.local(folder)
    path = tmp_path / "out.jpg"
    picture.save(path, _marked(), MADE, seal=Seal(signer))
    provenance.write_sidecar(path, MADE, {"not_swapped": []}, signer)
    return path


def _marked() -> picture.Picture:
    photo = picture.Picture(portraits.astronaut())
    return photo.with_luma(Stamp(payload_of(MADE.to_json())).shift(photo.luma()))


def _said(verdict: Verdict) -> str:
    return "\n".join(describe(verdict))


def test_a_whole_output(out: Path, folder: Path) -> None:
    verdict = verify(out, folder)
    assert (verdict.ok, verdict.embedded, verdict.beside, verdict.signer) == (True, "unchanged", "unchanged", "")
    assert verdict.manifest == verdict.written == verdict.run == MADE
    assert verdict.mark is not None
    assert verdict.mark.payload == payload_of(MADE.to_json())
    said = list(lines(out, folder))
    assert said[0] == "out.jpg: signed by the local key of this user, and unchanged since"
    text = "\n".join(said)
    for part in ("256 bits right, of the run named below", "from source/0: sha256:cdcd", "json, signed and unchanged"):
        assert part in text
    for part in (
        "Anna for a film: I agree",
        "weights mesh: sha256 1212",
        "the run: swap, system warp",
        "composite (IPTC)",
    ):
        assert part in text
    assert "another story" not in text


@pytest.mark.parametrize("where", ["pixels", "credentials", "sidecar", "end"])
def test_a_changed_byte_anywhere_is_found(out: Path, folder: Path, where: str) -> None:
    path = provenance.sidecar_path(out) if where == "sidecar" else out
    data = bytearray(path.read_bytes())
    place = {"credentials": data.find(b"mien.manifest") + 40, "sidecar": data.find(b'"swap"') + 2, "end": len(data) - 1}
    data[place.get(where, len(data) - 2000)] ^= 1
    path.write_bytes(data)
    verdict = verify(out, folder)
    assert not verdict.ok
    assert _said(verdict).startswith("out.jpg: CHANGED")


def test_a_file_saved_anew_leads_back_to_its_run(out: Path, folder: Path, tmp_path: Path) -> None:
    Image.open(out).convert("RGB").resize((460, 460)).save(tmp_path / "copy.jpg", quality=80)
    verdict = verify(tmp_path / "copy.jpg", folder)
    assert (verdict.ok, verdict.embedded, verdict.beside) == (False, "none", "none")
    assert verdict.manifest == verdict.run == MADE
    said = _said(verdict)
    assert said.startswith("copy.jpg: not signed, but it carries mien's invisible mark")
    assert "from this user's ledger" in said
    elsewhere = verify(tmp_path / "copy.jpg", tmp_path / "another user")
    assert elsewhere.manifest is None
    assert "which this user's ledger does not know" in _said(elsewhere)


def test_what_is_only_written_is_not_believed(tmp_path: Path, folder: Path) -> None:
    picture.save(tmp_path / "a.png", picture.Picture(portraits.astronaut()[:128, :128]), MADE)
    verdict = verify(tmp_path / "a.png", folder)
    assert (verdict.ok, verdict.written, verdict.mark) == (False, MADE, None)
    assert "anybody may have written" in _said(verdict)


def test_another_user_sees_an_unknown_key_until_it_is_trusted(out: Path, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    keys.local(other)
    verdict = verify(out, other)
    assert (verdict.ok, verdict.signer) == (True, None)
    assert _said(verdict).startswith("out.jpg: signed by a key that nobody here knows, and unchanged since")
    (other / keys.TRUSTED).mkdir()
    (other / keys.TRUSTED / "newsroom.pem").write_text(keys.known(folder)[""])
    verdict = verify(out, other)
    assert verdict.signer == "newsroom"
    assert "signed by newsroom, whom this user trusts" in _said(verdict)


def test_a_mark_of_another_run_is_named(tmp_path: Path, folder: Path) -> None:
    other = dataclasses.replace(MADE, settings={"system": "library"})
    picture.save(tmp_path / "a.jpg", _marked(), other, seal=Seal(keys.local(folder)))
    assert f"ANOTHER run, {payload_of(MADE.to_json()):012x}" in _said(verify(tmp_path / "a.jpg", folder))


def test_a_foreign_sidecar_is_noticed(out: Path, folder: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(MADE, action="anonymise")
    provenance.write_sidecar(out, other, {})
    verdict = verify(out, folder)
    assert (verdict.ok, verdict.beside) == (True, "none")
    assert "tells another story than the credentials" in _said(verdict)
    assert verdict.manifest == MADE
    provenance.sidecar_path(out).write_text("{}")
    assert "damaged" in _said(verify(out, folder))


def test_a_sidecar_signed_before_the_file_vouches_for_nothing(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "a.bmp"
    provenance.write_sidecar(path, MADE, {}, keys.local(folder))
    Image.fromarray(portraits.astronaut()[:64, :64]).save(path)
    verdict = verify(path, folder)
    assert (verdict.ok, verdict.beside) == (False, "none")
    assert "does not vouch" in _said(verdict)


@pytest.mark.parametrize("suffix", [".mkv", ".bmp", ".mp4"])
def test_clips_and_formats_without_a_place_for_credentials(tmp_path: Path, folder: Path, suffix: str) -> None:
    signer, path = keys.local(folder), tmp_path / f"out{suffix}"
    if suffix == ".bmp":
        picture.save(path, _marked(), MADE, seal=Seal(signer))
    else:
        plain = clips.video(tmp_path / "plain.mp4", size=(320, 240))
        stamp = Stamp(payload_of(MADE.to_json()))
        with video.Writer(path, video.probe(plain), MADE, source=plain, seal=Seal(signer)) as writer:
            for frame in video.read(plain):
                pixels = frame.pixels.with_luma(stamp.shift(frame.pixels.luma()))
                writer.write(Frame(pixels, frame.index, frame.pts, frame.time_base))
        provenance.write_sidecar(path, MADE, {}, signer)
    verdict = verify(path, folder)
    assert (verdict.ok, verdict.signer, verdict.beside) == (True, "", "unchanged")
    assert verdict.embedded == ("unchanged" if suffix == ".mp4" else "none")
    assert ("cannot hold any" in _said(verdict)) == (suffix != ".mp4")
    assert verdict.mark is not None
    path.write_bytes(path.read_bytes() + b"\0")
    assert not verify(path, folder).ok


def test_a_certificate_that_has_run_out_is_no_change(tmp_path: Path) -> None:
    """Signed a second before the end of the certificate, looked at afterwards."""
    from time import sleep

    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    start = datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=1)
    years = (now + timedelta(seconds=3) - start) / timedelta(days=365.25)
    root = certificates.make("root", root_key, None, root_key, now.date(), 2)
    leaf = certificates.make("leaf", key, root, root_key, now.date(), years)
    path = tmp_path / "a.png"
    seal = Seal(keys.Signer(certificates.pem([leaf, root]), "leaf", key))
    picture.save(path, picture.Picture(portraits.astronaut()[:64, :64]), MADE, seal=seal)
    sleep(max(0.0, (leaf.not_valid_after_utc - datetime.now(UTC)).total_seconds() + 1.1))
    verdict = verify(path, tmp_path)
    assert (verdict.ok, verdict.embedded) == (False, "refused")
    assert "certificate has run out" in _said(verdict)


def test_bad_files(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "signed.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    for name, says in [
        ("missing.jpg", "does not exist"),
        ("folder", "is a folder"),
        ("text.jpg", "not a picture"),
        ("empty.mp4", "empty"),
        ("signed.png", "not a picture"),
    ]:
        with pytest.raises(InputError, match=says) as caught:
            verify(tmp_path / name, folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".gif", ".mkv"])
def test_whatever_is_damaged_there_is_a_verdict(tmp_path: Path, folder: Path, suffix: str) -> None:
    """One to eight bits changed, or the end cut off, in the file or beside it: never believed, and never a traceback."""
    signer, path, draw = keys.local(folder), tmp_path / f"out{suffix}", random.Random(suffix)
    if suffix in (".mkv", ".gif"):
        plain = clips.video(tmp_path / "plain.mp4", pts=[0, 614, 1228])
        with video.Writer(path, video.probe(plain), MADE, source=plain, seal=Seal(signer)) as writer:
            for frame in video.read(plain):
                writer.write(frame)
    else:
        picture.save(path, picture.Picture(portraits.astronaut()[:64, :64]), MADE, seal=Seal(signer))
    beside = provenance.write_sidecar(path, MADE, {}, signer)
    assert verify(path, folder).ok
    for number in range(12):
        damaged = beside if number % 6 == 5 else path
        whole = damaged.read_bytes()
        data = bytearray(whole[: draw.randrange(len(whole))] if number % 4 == 3 else whole)
        for _ in range(draw.choice((1, 8)) if len(data) == len(whole) else 0):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        damaged.write_bytes(data)
        verdict = verify(path, folder)
        assert list(describe(verdict))
        assert not verdict.ok or (damaged == beside and verdict.beside == "none"), f"damage {number}"
        damaged.write_bytes(whole)


def test_a_cut_file_is_changed_not_an_error(out: Path, folder: Path) -> None:
    out.write_bytes(out.read_bytes()[:-20_000])
    verdict = verify(out, folder)
    assert not verdict.ok
    assert _said(verdict).startswith("out.jpg: CHANGED")


def test_the_ledger_keeps_a_run_once_and_believes_no_changed_file(tmp_path: Path) -> None:
    payload = ledger.keep(tmp_path, MADE)
    assert payload == ledger.keep(tmp_path, MADE) == payload_of(MADE.to_json())
    assert ledger.find(tmp_path, payload) == MADE.to_json()
    assert ledger.find(tmp_path, payload ^ 1) is None
    (path,) = (tmp_path / "ledger").iterdir()
    assert path.stat().st_mode & 0o077 == 0
    path.write_text(json.dumps({"action": "nothing"}))
    with pytest.raises(InputError, match="was changed"):
        ledger.find(tmp_path, payload)
