"""Signed statements inside the file (C2PA content credentials): what was made, from what, by which weights, by whose key.

Written in the formats of `MIME`; others have no place for them, and the signature of the file beside the output stands in.
Nothing is ever asked of a server: no time stamp, no revocation list, no remote manifest. Nothing shown before is kept: no
thumbnail, no file name; inputs are called target and source/0. Credentials that an input brings along are carried on as the
specification wants it, except where faces are hidden: their thumbnails would show who was there.
Source: C2PA specification 2.1, chapters 6 to 18; IPTC digital source types.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from mien.errors import InputError, OutputError
from mien.trust import jumbf
from mien.trust.keys import Signer
from mien.types import Manifest

MIME = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".tif": "image/tiff",
    ".tiff": "image/tiff", ".avif": "image/avif", ".gif": "image/gif", ".mp4": "video/mp4", ".m4v": "video/mp4",
    ".mov": "video/quicktime",
}  # fmt: skip
ASSERTION = "mien.manifest"
MADE = {
    "swap": "faces of the target were replaced by those of the sources",
    "anonymise": "faces of the target were hidden behind faces of nobody",
}
MAX_CHAIN_BYTES = 1 << 28
"""Larger inputs are named by their hash alone: to carry their credentials on, all of them would be read once more."""
SETTINGS = {
    "version": 1,
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}
STORE = b"jumdc2pa"
"""How the description of a manifest store begins (11.1)."""
NO_CREDENTIALS, UNKNOWN_FORMAT = "ManifestNotFound", "NotSupported"


@dataclass(frozen=True)
class Seal:
    """Signs what mien writes. inputs: files by their names in `Manifest.inputs`, whose own credentials are carried on."""

    signer: Signer
    inputs: Mapping[str, Path] = field(default_factory=dict)

    def sign(self, data: bytes, suffix: str, manifest: Manifest, source_type: str) -> bytes:
        """A picture's bytes with credentials, or as they were where the format has no place for them.

        suffix: of the file's name; source_type: IPTC's address of what the output is. Raises OutputError.
        """
        if suffix.lower() not in MIME:
            return data
        digest = hashlib.sha256(data).digest()
        signed = BytesIO()
        old = self._embed(BytesIO(data), signed, suffix, manifest, source_type, digest)
        result = bytearray(signed.getvalue())
        self._settle(result, old)
        return bytes(result)

    def sign_file(self, path: Path, suffix: str, manifest: Manifest, source_type: str) -> None:
        """The same for a file, in place; the library takes up to half a gigabyte of memory for a long clip.

        Needs room for a second copy. Raises OutputError.
        """
        if suffix.lower() not in MIME:
            return
        part = path.with_name(path.name + ".signed")
        try:
            with path.open("rb") as source, part.open("wb+") as target:
                digest = hashlib.file_digest(source, "sha256").digest()
                source.seek(0)
                old = self._embed(source, target, suffix, manifest, source_type, digest)
                target.flush()
                with mmap.mmap(target.fileno(), 0) as mapped:
                    self._settle(mapped, old)
            part.replace(path)
        except OSError as error:
            raise OutputError(f"{path.name} cannot be signed ({error.strerror}); make room on the disk") from error
        finally:
            part.unlink(missing_ok=True)

    def _embed(
        self, source: IO[bytes], target: IO[bytes], suffix: str, manifest: Manifest, source_type: str, digest: bytes
    ) -> bytes:
        """Write the source with credentials to the target; returns the manifest store as it was written."""
        import c2pa

        mime = MIME[suffix.lower()]
        # Named after what is signed: the same output has the same name, and no other one has.
        name = hashlib.sha256(digest + manifest.to_json().encode() + self.signer.chain.encode()).hexdigest()
        definition, ingredients = _definition(manifest, source_type, mime, name), _ingredients(manifest)
        private = c2pa.C2paSignerInfo(
            self.signer.algorithm, self.signer.chain.encode(), self.signer.private_pem(), None
        )
        try:
            with (
                c2pa.Context.from_dict(SETTINGS) as context,
                c2pa.Signer.from_info(private) as signer,
                c2pa.Builder(json.dumps(definition), context) as builder,
            ):
                for ingredient in ingredients:
                    with self._opened(ingredient, manifest) as (kind, file):
                        builder.add_ingredient(json.dumps(ingredient), kind, file)
                return bytes(builder.sign(signer, mime, source, target))
        except c2pa.C2paError as error:
            why = _one_line(error)
            raise OutputError(
                f"the output cannot be signed ({why}): make room on the disk or choose another format"
            ) from error

    @contextmanager
    def _opened(self, ingredient: Mapping[str, Any], manifest: Manifest) -> Iterator[tuple[str, IO[bytes]]]:
        """The input's format and file. Without any that may be shown, an empty one: its hash is what is known of it."""
        path = {_spoken(name): path for name, path in self.inputs.items()}.get(ingredient["label"])
        kind = MIME.get(path.suffix.lower()) if path else None
        hidden = manifest.action == "anonymise"
        if path is None or kind is None or hidden or not path.is_file() or path.stat().st_size > MAX_CHAIN_BYTES:
            yield ingredient["format"], BytesIO()
            return
        with path.open("rb") as file:
            yield kind, file

    def _settle(self, file: Any, store: bytes) -> None:
        """Take out of a signed file what was drawn at random, where the key can sign without chance."""
        if self.signer.repeatable and self.signer.algorithm in ("es256", "ed25519"):
            jumbf.patch(file, store, jumbf.settled(store, self.signer))


@dataclass(frozen=True)
class Credentials:
    """What a file says of itself and whether it may be believed.

    state: trusted (unchanged, by a known key), valid (unchanged, by some key), refused (unchanged, but the certificate has
    run out or is not fit to sign), changed; name, algorithm: of the signer;
    problems: what the reader found wrong, in its own codes; actions: what was done; inputs: name -> "sha256:..." or an id;
    earlier: how many manifests the inputs brought along; manifest: mien's own as JSON, else None.
    """

    state: str
    name: str
    algorithm: str
    generator: str
    problems: Sequence[str]
    actions: Sequence[tuple[str, str]]
    inputs: Mapping[str, str]
    earlier: int
    manifest: str | None


def read(path: Path, roots: Sequence[str] = ()) -> Credentials | None:
    """The credentials in a file, or None where it has none or is of a kind that can't have any.

    roots: certificates (PEM) of known signers. Raises InputError where the file can't be read.
    """
    import c2pa

    kind = MIME.get(path.suffix.lower())
    if kind is None:
        return None
    settings = SETTINGS | ({"trust": {"trust_anchors": "".join(roots)}} if roots else {})
    try:
        with (
            path.open("rb") as file,
            c2pa.Context.from_dict(settings) as context,
            c2pa.Reader(kind, file, context=context) as reader,
        ):
            return _credentials(json.loads(reader.json()))
    except (ValueError, LookupError, TypeError, AttributeError):  # a damaged store that the library let pass
        return _unreadable("the manifest store is damaged")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except c2pa.C2paError as error:
        text = _one_line(error)
        if text.startswith((NO_CREDENTIALS, UNKNOWN_FORMAT)) or not _has_any(path):
            return None
        return _unreadable(text)


def _definition(manifest: Manifest, source_type: str, mime: str, name: str) -> dict[str, Any]:
    """The manifest as the library takes it, without its ingredients. name: 64 hex digits that no other output has."""
    agent = {"name": "mien", "version": manifest.versions.get("mien", "0")}
    inputs = [item["label"] for item in _ingredients(manifest)]
    edited = {
        "action": "c2pa.edited" if "target" in inputs else "c2pa.created",
        "digitalSourceType": source_type,
        "softwareAgent": agent,
        "description": MADE.get(manifest.action, manifest.action),
    }
    placed = [_action("c2pa.opened" if key == "target" else "c2pa.placed", key) for key in inputs]
    actions = [*placed, edited] if "target" in inputs else [edited, *placed]
    said = {
        "manifest": manifest.to_json(),  # as text: its bytes are what the invisible mark stands for
        "inputs": dict(manifest.inputs),
        "weights": dict(manifest.weights),
        "versions": dict(manifest.versions),
    }
    return {
        "label": f"urn:c2pa:{name[:8]}-{name[8:12]}-4{name[13:16]}-8{name[17:20]}-{name[20:32]}",
        "instance_id": f"xmp:iid:{name[32:]}",
        "claim_generator_info": [agent],
        "format": mime,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}},
            {"label": ASSERTION, "data": said},
        ],
    }


def _spoken(name: str) -> str:
    """An input's name; a photo of the only source has an empty one before the slash."""
    return f"source{name}" if name.startswith("/") else name


def _action(action: str, ingredient: str) -> dict[str, Any]:
    return {"action": action, "parameters": {"ingredientIds": [ingredient]}}


def _ingredients(manifest: Manifest) -> list[dict[str, Any]]:
    """The target first, then the photos. The analysis is left out: it is made from the target."""
    named = {_spoken(key): digest for key, digest in manifest.inputs.items() if key != "analysis"}
    return [
        {
            "label": name,
            "title": name,
            "format": "application/octet-stream",
            "relationship": "parentOf" if name == "target" else "componentOf",
            "instance_id": f"sha256:{digest}",
        }
        for name, digest in sorted(named.items(), key=lambda item: (item[0] != "target", item[0]))
    ]


def _credentials(store: Mapping[str, Any]) -> Credentials:
    active = store["manifests"][store["active_manifest"]]
    signature, data = active.get("signature_info", {}), _assertions(active)
    results = store.get("validation_results", {}).get("activeManifest", {})
    problems = [item["code"] for item in results.get("failure", ())]
    problems += [item["code"] for item in store.get("validation_status", ()) if item["code"] not in problems]
    only_certificate = all(code.startswith("signingCredential.") for code in problems)
    otherwise = "refused" if problems and only_certificate else "changed"
    state = {"Trusted": "trusted", "Valid": "valid"}.get(store.get("validation_state", ""), otherwise)
    actions = data.get("c2pa.actions.v2", data.get("c2pa.actions", {})).get("actions", ())
    agents = active.get("claim_generator_info") or [{}]
    return Credentials(
        state,
        signature.get("common_name") or signature.get("issuer") or "",
        signature.get("alg", "").lower(),
        f"{agents[0].get('name', 'unknown')} {agents[0].get('version', '')}".strip(),
        problems,
        [(item["action"], item.get("description", "")) for item in actions],
        {item.get("title", "?"): item.get("instance_id", "") for item in active.get("ingredients", ())},
        len(store["manifests"]) - 1,
        data.get(ASSERTION, {}).get("manifest"),
    )


def _assertions(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        item["label"]: item["data"] for item in manifest.get("assertions", ()) if isinstance(item.get("data"), dict)
    }


def _unreadable(why: str) -> Credentials:
    return Credentials("changed", "", "", "", (why,), (), {}, 0, None)


def _has_any(path: Path) -> bool:
    """Whether a file that can't be read has, or had, credentials: the label of their outermost box is in it."""
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return mapped.find(STORE) >= 0


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]
