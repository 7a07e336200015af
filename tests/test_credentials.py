"""Signed credentials: written and read in every format, tampering found, the same bytes for the same job."""

from __future__ import annotations

import dataclasses
import io
import resource
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

import clips
import portraits
from mien import picture, provenance, video
from mien.errors import OutputError
from mien.trust import certificates, credentials, keys
from mien.trust.credentials import Seal
from mien.types import Manifest

PICTURES = (".jpg", ".png", ".webp", ".tiff", ".avif")
CLIPS = (".mp4", ".mov", ".gif")
MADE = Manifest(
    "swap",
    {"target": "ab" * 32, "/0": "cd" * 32, "T2/0": "ef" * 32, "analysis": "01" * 32},
    {"mesh": "12" * 32},
    {"system": "warp", "crf": 0.1 + 0.2},
    {"mien": "0.1.0"},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def seal(folder: Path) -> Seal:
    return Seal(keys.local(folder))


@pytest.fixture(scope="module")
def roots(folder: Path, seal: Seal) -> list[str]:
    assert seal.signer.chain
    return list(keys.known(folder).values())


def _photo() -> picture.Picture:
    return picture.Picture(portraits.astronaut()[:120, :160])


def _write(out: Path, seal: Seal | None, manifest: Manifest = MADE) -> Path:
    """A picture or a clip of that suffix."""
    if out.suffix in PICTURES:
        picture.save(out, _photo(), manifest, seal=seal)
        return out
    plain = out.with_name("plain.mp4")
    if not plain.exists():
        clips.video(plain, pts=[clips.STEP * number for number in range(6)], sound=("aac",), sound_seconds=0.2)
    with video.Writer(out, video.probe(plain), manifest, source=plain, seal=seal) as writer:
        for frame in video.read(plain):
            writer.write(frame)
    return out


@pytest.mark.parametrize("suffix", PICTURES + CLIPS)
def test_written_and_read_back(tmp_path: Path, seal: Seal, roots: list[str], suffix: str) -> None:
    out = _write(tmp_path / f"out{suffix}", seal)
    found = credentials.read(out, roots)
    assert found is not None
    assert (found.state, found.problems, found.name, found.algorithm) == ("trusted", [], seal.signer.name, "es256")
    assert found.manifest is not None
    assert provenance.parse(found.manifest) == MADE
    assert found.manifest == MADE.to_json(), "to the byte: the invisible mark stands for it"
    assert [action for action, _ in found.actions] == ["c2pa.opened", "c2pa.placed", "c2pa.placed", "c2pa.edited"]
    assert found.inputs == {name: f"sha256:{digest}" for name, digest in
                            (("target", "ab" * 32), ("source/0", "cd" * 32), ("T2/0", "ef" * 32))}  # fmt: skip
    unknown = credentials.read(out)
    assert unknown is not None
    assert (unknown.state, unknown.problems) == ("valid", ["signingCredential.untrusted"])
    assert provenance.read(out) == MADE, "the XMP or the tag is still there"
    again = _write(tmp_path / f"again{suffix}", seal)
    assert out.read_bytes() == again.read_bytes(), "the same job gives the same bytes"
    assert not [path.name for path in tmp_path.iterdir() if "part" in path.name or "signed" in path.name]


@pytest.mark.parametrize("suffix", PICTURES + CLIPS)
def test_one_changed_byte_is_found(tmp_path: Path, seal: Seal, roots: list[str], suffix: str) -> None:
    """Of the pixels, wherever a decoder notices nothing, and of the manifest itself."""
    out = _write(tmp_path / f"out{suffix}", seal)
    whole = out.read_bytes()
    plain = _write(tmp_path / f"plain-out{suffix}", None).read_bytes()
    pixels = max(
        range(16, len(plain) - 16, 16), key=lambda at: len(set(plain[at : at + 16]))
    )  # the densest: coded data
    for place in (whole.index(plain[pixels : pixels + 16]) + 8, whole.index(b"mien.manifest") + 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        out.write_bytes(damaged)
        found = credentials.read(out, roots)
        assert found is None or found.state == "changed", f"byte {place}"
        assert found is not None


def test_nothing_is_read_where_nothing_was_signed(tmp_path: Path) -> None:
    for suffix in (".png", ".mp4"):
        assert credentials.read(_write(tmp_path / f"out{suffix}", None)) is None
    (tmp_path / "a.mkv").write_bytes(b"anything")
    assert credentials.read(tmp_path / "a.mkv") is None


def test_what_cannot_hold_credentials_is_left_as_it_is(tmp_path: Path, seal: Seal) -> None:
    assert seal.sign(b"a bitmap", ".bmp", MADE, "type") == b"a bitmap"
    plain, signed = _write(tmp_path / "a.mkv", None), _write(tmp_path / "b.mkv", seal)
    assert plain.read_bytes() == signed.read_bytes()


def test_only_the_credentials_are_added(tmp_path: Path, seal: Seal) -> None:
    signed, plain = _write(tmp_path / "a.png", seal), _write(tmp_path / "b.png", None)
    assert np.array_equal(picture.load(signed).array, picture.load(plain).array)
    assert picture.load(signed).xmp == picture.load(plain).xmp
    assert signed.stat().st_size - plain.stat().st_size < 8000, "no thumbnail"
    moving, still = _write(tmp_path / "a.mp4", seal), _write(tmp_path / "b.mp4", None)
    frames = [[frame.pixels.rgb() for frame in video.read(path)] for path in (moving, still)]
    assert all(np.array_equal(a, b) for a, b in zip(*frames, strict=True))


def test_the_source_type_and_the_weights_are_in_the_credentials(tmp_path: Path, seal: Seal) -> None:
    for generative, kind in ((True, "compositeWithTrainedAlgorithmicMedia"), (False, "composite")):
        made = dataclasses.replace(MADE, settings={"generative": generative})
        text = _reader(_write(tmp_path / f"{kind}.png", seal, made))
        assert f'"digitalSourceType": "{provenance.SOURCE_TYPE}{kind}"' in text
        assert '"mesh": "' + "12" * 32 in text
        assert "out." not in text, "no file name"


def test_the_chain_of_an_input_is_carried_on_but_not_where_people_are_hidden(
    tmp_path: Path, seal: Seal, roots: list[str]
) -> None:
    first = _write(tmp_path / "first.jpg", seal)
    with_inputs = Seal(
        seal.signer, {"target": first, "/0": _write(tmp_path / "plain.png", None), "T2/0": tmp_path / "no"}
    )
    made = dataclasses.replace(MADE, inputs=MADE.inputs | {"target": provenance.sha256(first)})
    found = credentials.read(_write(tmp_path / "second.jpg", with_inputs, made), roots)
    assert found is not None
    assert (found.state, found.earlier, found.problems) == ("trusted", 1, [])
    again = _write(tmp_path / "third.jpg", with_inputs, made)
    assert again.read_bytes() == (tmp_path / "second.jpg").read_bytes()
    hidden = _write(tmp_path / "hidden.jpg", with_inputs, dataclasses.replace(made, action="anonymise"))
    found = credentials.read(hidden, roots)
    assert found is not None
    assert (found.state, found.earlier) == ("trusted", 0)


def test_a_changed_input_stays_visible(tmp_path: Path, seal: Seal, roots: list[str]) -> None:
    first = _write(tmp_path / "first.png", seal)
    damaged = bytearray(first.read_bytes())
    damaged[-30] ^= 1
    first.write_bytes(damaged)
    made = dataclasses.replace(MADE, inputs={"target": provenance.sha256(first)})
    out = _write(tmp_path / "second.png", Seal(seal.signer, {"target": first}), made)
    found = credentials.read(out, roots)
    assert found is not None
    assert found.earlier == 1
    assert "assertion.dataHash.mismatch" in _reader(out)


def test_credentials_of_many_inputs_fit_a_jpeg_of_several_segments(
    tmp_path: Path, seal: Seal, roots: list[str]
) -> None:
    many = dataclasses.replace(MADE, inputs={"target": "ab" * 32} | {f"T1/{i}": f"{i:064x}" for i in range(300)})
    out = _write(tmp_path / "out.jpg", seal, many)
    found = credentials.read(out, roots)
    assert found is not None
    assert out.read_bytes().count(b"\xff\xeb") > 1
    assert (found.state, found.manifest) == ("trusted", many.to_json())
    assert out.read_bytes() == _write(tmp_path / "again.jpg", seal, many).read_bytes()


@pytest.mark.parametrize("make", [lambda m: m, lambda m: dataclasses.replace(m, inputs={}, weights={})])
def test_without_a_target_it_was_created(
    tmp_path: Path, seal: Seal, roots: list[str], manifest: Manifest, make: Callable[[Manifest], Manifest]
) -> None:
    found = credentials.read(_write(tmp_path / "a.png", seal, make(manifest)), roots)
    assert found is not None
    assert (found.state, found.actions[0][0]) == ("trusted", "c2pa.created")


def test_a_failure_leaves_nothing(tmp_path: Path, seal: Seal, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise c2pa.C2paError("Io: no space left on device\nwhere")

    monkeypatch.setattr(c2pa.Builder, "sign", fail)
    for name in ("a.png", "a.mp4"):
        with pytest.raises(OutputError, match="cannot be signed") as caught:
            _write(tmp_path / name, seal)
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["plain.mp4"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, seal: Seal) -> None:
    """The limit lets the clip itself be written, but not its signed copy."""
    plain = _write(tmp_path / "out.mp4", None)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (plain.stat().st_size + 100, limits[1]))
    try:
        with pytest.raises(OutputError, match="make room"):
            seal.sign_file(plain, ".mp4", MADE, "type")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "plain.mp4"]
    assert credentials.read(plain) is None


@pytest.mark.parametrize("kind", ["es384", "ed25519", "ps256"])
def test_any_kind_of_key_signs_and_the_short_ones_without_chance(tmp_path: Path, kind: str) -> None:
    root_key, today = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC).date()
    key: Any = {
        "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "ps256": lambda: rsa.generate_private_key(65537, 2048),
    }[kind]()
    root = certificates.make("A root", root_key, None, root_key, today, 2)
    leaf = certificates.make("A user", key, root, root_key, today, 1)
    seal = Seal(keys.Signer(certificates.pem([leaf, root]), "A user", key))
    one, other = _write(tmp_path / "a.png", seal), _write(tmp_path / "b.png", seal)
    found = credentials.read(one, [certificates.pem([root])])
    assert found is not None
    assert (found.state, found.algorithm, found.name) == ("trusted", kind, "A user")
    assert (one.read_bytes() == other.read_bytes()) == (kind == "ed25519")


def test_numbered_pictures_are_signed_one_by_one(tmp_path: Path, seal: Seal, roots: list[str]) -> None:
    clips.video(tmp_path / "plain.mp4", pts=[0, 614, 1228])
    with video.Writer(tmp_path / "out", video.probe(tmp_path / "plain.mp4"), MADE, seal=seal) as writer:
        for frame in video.read(tmp_path / "plain.mp4"):
            writer.write(frame)
    found = [credentials.read(path, roots) for path in sorted((tmp_path / "out").iterdir())]
    assert [one and one.state for one in found] == ["trusted"] * 3


def _reader(path: Path) -> str:
    with c2pa.Reader(credentials.MIME[path.suffix], io.BytesIO(path.read_bytes())) as reader:
        return str(reader.json())
