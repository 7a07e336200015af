"""Say in the file what was made: the manifest as XMP in pictures, as a tag in video, and in full beside the output.

The XMP packet and the video tag name the IPTC digital source type, so that other programs see a synthetic composite.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from xml.dom.minidom import Document, Element
from xml.parsers.expat import ExpatError

import defusedxml
import defusedxml.minidom
from PIL import Image

from mien.errors import InputError, OutputError
from mien.types import Consent, Manifest

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
XMP = "http://ns.adobe.com/xap/1.0/"
NAMESPACE = "urn:mien:manifest:1"
MAX_XMP_BYTES = 60_000  # a JPEG segment holds 65 502
MARKED_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
# What Pillow's codecs raise on damaged files.
DAMAGED = (OSError, SyntaxError, ValueError, RuntimeError, EOFError, LookupError, TypeError, struct.error, zlib.error)
SIDECAR_SUFFIX = ".manifest.json"
DOMAIN = b"mien sidecar 1\n"
"""Signed before a sidecar's content, so that no signature made for something else passes for one of a sidecar."""
PACKAGES = (
    *("mien", "torch", "numpy", "av", "opencv-python-headless", "pillow", "scipy", "numba"),
    *("onnxruntime", "openvino"),
)


def sha256(path: Path) -> str:
    """The SHA-256 of a file in hex. Raises InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def versions() -> dict[str, str]:
    """The versions of Python, mien and the installed libraries that decide a pixel."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def source_type(manifest: Manifest) -> str:
    """The IPTC digital source type, as a full address.

    `compositeWithTrainedAlgorithmicMedia` means that a generative network made part of the pixels (IPTC names in- and
    outpainting); `composite` means elements put together, whatever they are. A network that only finds, measures or cuts out
    makes no pixels: a system whose pixels come from photos says `generative: False` in the manifest's settings. One that
    says nothing but uses weights is taken for generative, because too strong a statement misleads nobody about a swap.
    """
    generative = manifest.settings.get("generative", bool(manifest.weights))
    return SOURCE_TYPE + ("compositeWithTrainedAlgorithmicMedia" if generative else "composite")


def tag(manifest: Manifest) -> str:
    """The manifest as one line of compact JSON for a container's metadata; `read` finds it there."""
    value = {"digitalSourceType": source_type(manifest), "mien": dataclasses.asdict(manifest)}
    return json.dumps(value, sort_keys=True, default=str, separators=(",", ":"))


def xmp(manifest: Manifest, existing: bytes | None = None) -> bytes:
    """An XMP packet with the digital source type and the manifest, merged into `existing` where that is well-formed.

    An older manifest and source type are replaced. Thumbnails are removed: they show what was there before.
    A manifest too long for a JPEG segment is embedded without its inputs and settings, with the SHA-256 of its JSON.
    """
    packet = _merge(manifest, existing)
    if len(packet) > MAX_XMP_BYTES:
        packet = _merge(manifest, None)
    if len(packet) > MAX_XMP_BYTES:
        digest = hashlib.sha256(manifest.to_json().encode()).hexdigest()
        packet = _merge(dataclasses.replace(manifest, inputs={"manifest": digest}, settings={}), None)
    return packet


def read(path: Path) -> Manifest | None:
    """The manifest embedded in a picture or video, else the one beside it, else None.

    Raises InputError where the file cannot be read.
    """
    embedded = read_embedded(path)
    if embedded is not None:
        return embedded
    beside = read_sidecar(path)
    return beside.manifest if beside else None


def read_embedded(path: Path) -> Manifest | None:
    """The manifest in the metadata of a picture or video, or None. Raises InputError where it is no file."""
    if not path.is_file():
        raise InputError(f"{path} is not a file; give a picture or a video")
    return _read_picture(path) or _read_video(path)


def parse(manifest_json: str) -> Manifest:
    """The manifest of `Manifest.to_json`. Raises InputError for any other text."""
    try:
        return _manifest(json.loads(manifest_json))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("the manifest is damaged; make the output again") from error


def sidecar_path(out: Path) -> Path:
    """Where the full manifest of `out` is: `OUT.manifest.json`."""
    return out.with_name(out.name + SIDECAR_SUFFIX)


class Signing(Protocol):
    """Who signs a sidecar: certificates as PEM, and a signature of bytes. `trust.keys.Signer` is one."""

    @property
    def chain(self) -> str: ...
    def sign(self, data: bytes) -> bytes: ...


@dataclass(frozen=True)
class Sidecar:
    """What lies beside an output. output: its sha256, where that was known; chain, signed, signature: who signed what."""

    manifest: Manifest
    record: Mapping[str, Any]
    output: str | None = None
    chain: str | None = None
    signed: bytes = b""
    signature: bytes = b""


def write_sidecar(out: Path, manifest: Manifest, record: Mapping[str, Any], signer: Signing | None = None) -> Path:
    """Write the full manifest and the `record` of the run (what was not swapped and why) beside `out`.

    signer: signs it together with the sha256 of `out`, where that is there already; this is all that is signed of an
    output whose format has no place for credentials. Raises OutputError where it cannot be written.
    """
    path = sidecar_path(out)
    value: dict[str, Any] = {"manifest": dataclasses.asdict(manifest), "record": dict(record)}
    if signer is not None:
        value |= {"output": sha256(out)} if out.is_file() else {}
        value["chain"] = signer.chain
        value["signature"] = base64.b64encode(signer.sign(_signed(value))).decode()
    write_bytes(path, json.dumps(value, indent=2, sort_keys=True, default=str).encode() + b"\n")
    return path


def read_sidecar(out: Path) -> Sidecar | None:
    """What lies beside `out`, or None. Raises InputError where it is damaged; the signature is not looked at."""
    path = sidecar_path(out)
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        signature = value.pop("signature", None)
        found = Sidecar(_manifest(value["manifest"]), value["record"], value.get("output"))
        if signature is None:
            return found
        made = base64.b64decode(signature, validate=True)
        return dataclasses.replace(found, chain=str(value["chain"]), signed=_signed(value), signature=made)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise InputError(f"{path} is damaged; delete it or make the output again") from error


def _signed(value: Mapping[str, Any]) -> bytes:
    return DOMAIN + json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()


def write_bytes(path: Path, data: bytes) -> None:
    """Write beside (`.part`) and rename: `path` is either all there or untouched. Raises OutputError."""
    part = path.with_name(path.name + ".part")
    try:
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); choose another place with -o") from error


def _merge(manifest: Manifest, existing: bytes | None) -> bytes:
    document = (existing and _parse(existing)) or _empty()
    root = document.getElementsByTagNameNS(RDF, "RDF")[0]
    for element in [node for node in root.getElementsByTagName("*") if isinstance(node, Element)]:
        for namespace, name in ((IPTC, "DigitalSourceType"), (NAMESPACE, "manifest"), (XMP, "Thumbnails")):
            if element.hasAttributeNS(namespace, name):
                element.removeAttributeNS(namespace, name)
            if (element.namespaceURI, element.localName) == (namespace, name) and element.parentNode:
                element.parentNode.removeChild(element)
    # The packet may bind RDF to any prefix; ours is bound on the element itself.
    description = document.createElementNS(RDF, "rdf:Description")
    for name, value in (
        ("xmlns:rdf", RDF),
        ("xmlns:Iptc4xmpExt", IPTC),
        ("xmlns:mien", NAMESPACE),
        ("rdf:about", ""),
        ("Iptc4xmpExt:DigitalSourceType", source_type(manifest)),
        ("mien:manifest", manifest.to_json()),
    ):
        description.setAttribute(name, value)
    root.appendChild(description)
    assert document.documentElement is not None, "root is inside it"
    body = document.documentElement.toxml()
    return f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{body}\n<?xpacket end="w"?>'.encode()


def _empty() -> Document:
    return defusedxml.minidom.parseString(
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"></rdf:RDF></x:xmpmeta>'
    )


def _parse(packet: bytes) -> Document | None:
    """The packet as a document, or None where it is no well-formed XMP (other programs do write such packets)."""
    try:
        document: Document = defusedxml.minidom.parseString(packet.strip(b"\x00 \r\n\t"))
    except (ExpatError, defusedxml.DefusedXmlException, ValueError):
        return None
    return document if document.getElementsByTagNameNS(RDF, "RDF") else None


def _read_picture(path: Path) -> Manifest | None:
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(path, formats=MARKED_FORMATS) as picture,
        ):
            packet = picture.info.get("xmp") or picture.info.get("XML:com.adobe.xmp")
    except (*DAMAGED, Image.DecompressionBombError):
        return None
    document = _parse(packet.encode() if isinstance(packet, str) else packet) if packet else None
    for element in document.getElementsByTagNameNS(RDF, "Description") if document else ():
        if text := element.getAttributeNS(NAMESPACE, "manifest"):
            with contextlib.suppress(InputError):  # a damaged one says nothing
                return parse(text)
    return None


def _read_video(path: Path) -> Manifest | None:
    import av  # heavy, and needed for video only

    try:
        with av.open(str(path)) as container:
            metadata = {key.lower(): value for key, value in container.metadata.items()}
    except (av.FFmpegError, OSError, UnicodeDecodeError):
        return None
    for key in ("mien", "comment"):
        try:
            return _manifest(json.loads(metadata[key])["mien"])
        except (KeyError, ValueError, TypeError):
            continue
    return None


def _manifest(value: Mapping[str, Any]) -> Manifest:
    consents = {whom: Consent(**said) for whom, said in value["consents"].items()}
    return Manifest(**{**value, "consents": consents})
