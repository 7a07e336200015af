"""What is said about an output, and whether it can be read again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from xml.dom.minidom import parseString

import av
import numpy as np
import pytest
from PIL import Image

from mien import picture, provenance
from mien.errors import InputError, OutputError
from mien.trust import keys
from mien.types import Consent, Manifest

EXISTING = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<r:Description r:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/jpeg"
 xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 ext:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
 xmlns:xap="http://ns.adobe.com/xap/1.0/"><xap:Thumbnails>an old face</xap:Thumbnails></r:Description>
</r:RDF></x:xmpmeta><?xpacket end="w"?>"""


def test_xmp_names_the_source_type_and_keeps_the_rest(manifest: Manifest) -> None:
    packet = provenance.xmp(manifest, provenance.xmp(manifest, EXISTING))
    parseString(packet)
    assert packet.count(b"DigitalSourceType=") == 1
    assert b"compositeWithTrainedAlgorithmicMedia" in packet
    assert b"digitalCapture" not in packet
    assert b'dc:format="image/jpeg"' in packet
    assert b"an old face" not in packet
    assert packet.count(b"mien:manifest=") == 1


def test_only_what_a_network_made_pixels_of_is_said_to_be_generated(manifest: Manifest) -> None:
    for weights, settings, kind in [
        ({"mesh": "cd"}, {"generative": False}, "composite"),
        ({"mesh": "cd"}, {"generative": True}, "compositeWithTrainedAlgorithmicMedia"),
        ({"mesh": "cd"}, {}, "compositeWithTrainedAlgorithmicMedia"),
        ({}, {}, "composite"),
    ]:
        said = dataclasses.replace(manifest, weights=weights, settings=settings)
        assert provenance.source_type(said) == provenance.SOURCE_TYPE + kind


def test_a_manifest_is_parsed_from_its_own_json(manifest: Manifest) -> None:
    assert provenance.parse(manifest.to_json()) == manifest
    for damaged in ("", "[]", "{}", '{"action": 3, "consents": 4}'):
        with pytest.raises(InputError, match="damaged"):
            provenance.parse(damaged)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"no xml",
        b"<x>no rdf</x>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>',
        b"\xff\xfe\x00",
    ],
)
def test_a_broken_packet_is_replaced(manifest: Manifest, broken: bytes) -> None:
    assert provenance.xmp(manifest, broken) == provenance.xmp(manifest)


def test_a_long_manifest_fits_a_jpeg_and_is_named_by_its_hash(manifest: Manifest, tmp_path: Path) -> None:
    long = dataclasses.replace(manifest, inputs={f"photo {i}": "ab" * 32 for i in range(2000)})
    out = tmp_path / "a.jpg"
    picture.save(out, picture.Picture(np.zeros((8, 8, 3), np.uint8)), long)
    found = provenance.read(out)
    assert found is not None
    assert set(found.inputs) == {"manifest"}
    assert found.consents == long.consents


def _clip(path: Path, comment: str) -> Path:
    with av.open(str(path), "w") as container:
        container.metadata["comment"] = comment
        stream = container.add_stream("libvpx" if path.suffix == ".webm" else "libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for packet in (*stream.encode(av.VideoFrame(32, 32, "yuv420p")), *stream.encode()):
            container.mux(packet)
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm"])
def test_a_video_tag_is_read_again(manifest: Manifest, tmp_path: Path, name: str) -> None:
    assert provenance.read(_clip(tmp_path / name, provenance.tag(manifest))) == manifest


@pytest.mark.parametrize("comment", ["holiday", '{"mien": 3}', "[]", "3"])
def test_a_foreign_comment_is_no_manifest(tmp_path: Path, comment: str) -> None:
    assert provenance.read(_clip(tmp_path / "a.mp4", comment)) is None


def test_the_tag_is_one_line_of_json(manifest: Manifest) -> None:
    text = provenance.tag(manifest)
    assert "\n" not in text
    assert json.loads(text)["digitalSourceType"] == provenance.source_type(manifest)


def test_the_sidecar_holds_the_record_and_is_read_where_nothing_is_embedded(manifest: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "out.gif"
    Image.new("RGB", (8, 8)).save(out)
    assert provenance.read(out) is None
    sidecar = provenance.write_sidecar(out, manifest, {"not swapped": [{"frame": 3, "why": "no face"}]})
    assert sidecar == tmp_path / "out.gif.manifest.json"
    assert json.loads(sidecar.read_text())["record"]["not swapped"][0]["why"] == "no face"
    assert provenance.read(out) == manifest
    sidecar.write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        provenance.read(out)


def test_a_signed_sidecar_vouches_for_the_output(manifest: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    out.write_bytes(b"a clip")
    signer = keys.local(tmp_path / "home")
    provenance.write_sidecar(out, manifest, {"frames": 3}, signer)
    beside = provenance.read_sidecar(out)
    assert beside is not None
    assert beside.chain is not None
    assert (beside.manifest, beside.output) == (manifest, provenance.sha256(out))
    assert keys.signed_by(beside.chain, beside.signed, beside.signature)
    path = provenance.sidecar_path(out)
    path.write_text(path.read_text().replace('"frames": 3', '"frames": 4'))
    changed = provenance.read_sidecar(out)
    assert changed is not None
    assert not keys.signed_by(beside.chain, changed.signed, changed.signature)
    assert provenance.read_sidecar(tmp_path / "other.mkv") is None
    path.write_text(path.read_text().replace('"signature": "', '"signature": "!'))
    with pytest.raises(InputError, match="damaged"):
        provenance.read_sidecar(out)


def test_hash_and_versions(tmp_path: Path) -> None:
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    assert provenance.sha256(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(InputError, match="cannot be read"):
        provenance.sha256(tmp_path / "missing")
    found = provenance.versions()
    assert found["numpy"] == np.__version__
    assert "python" in found


def test_writing_is_all_or_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_bytes(b"old")
    with pytest.raises(OutputError):
        provenance.write_bytes(out / "below a file", b"new")
    provenance.write_bytes(out, b"new")
    assert out.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_manifest_with_nobodys_consent_survives(tmp_path: Path) -> None:
    bare = Manifest("anonymise", consents={"": Consent()})
    out = tmp_path / "a.png"
    picture.save(out, picture.Picture(np.zeros((4, 4, 3), np.uint8)), bare)
    assert provenance.read(out) == bare
