"""Whether a file may be believed, in plain words: who signed it, whether it was changed since, what made it, which run.

Four witnesses are heard, strongest first: credentials in the file (C2PA), the signed manifest beside it, the plain manifest
in its metadata, and the invisible mark in its pixels, which the ledger of this user leads back to a run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mien import picture, provenance, video
from mien.errors import InputError
from mien.provenance import Sidecar
from mien.trust import credentials, keys, ledger
from mien.trust.credentials import Credentials
from mien.trust.mark import Mark, find, payload_of
from mien.types import Array, Manifest

LOOKS = 64
"""Frames of a clip that are searched for the mark at most, spread over its length."""
NO_CHANGE, CHANGED, REFUSED, NONE = "unchanged", "changed", "refused", "none"
STATES = {"trusted": NO_CHANGE, "valid": NO_CHANGE, "refused": REFUSED, "changed": CHANGED}


@dataclass(frozen=True)
class Verdict:
    """What came out. Words for `embedded` (credentials in the file) and `beside` (the sidecar): "unchanged" (signed, and as it
    was signed), "changed", "refused" (by a certificate that has run out or is not fit), "none" (not signed).

    signer: whose root the signature leads to: "" the local key of this user, a name in the trusted folder, None nobody known;
    written: the plain manifest in the metadata; mark: what the pixels hold; run: the manifest that it leads to.
    """

    path: Path
    embedded: str
    beside: str
    credentials: Credentials | None
    sidecar: Sidecar | None
    signer: str | None
    written: Manifest | None
    mark: Mark | None
    run: Manifest | None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Signed, by whatever key, and unchanged since; a changed witness spoils the others."""
        words = (self.embedded, self.beside)
        return NO_CHANGE in words and CHANGED not in words

    @property
    def manifest(self) -> Manifest | None:
        """What is known of the run, from the strongest witness that knows it."""
        if self.embedded == NO_CHANGE and self.credentials and self.credentials.manifest:
            with contextlib.suppress(InputError):  # another program may write what it likes
                return provenance.parse(self.credentials.manifest)
        return (self.sidecar and self.sidecar.manifest) or self.written or self.run


def verify(path: Path, folder: Path) -> Verdict:
    """Examine a picture or clip that may have been made by mien. folder: this user's keys, trusted signers and ledger.

    Raises InputError for what is neither a picture nor a clip, or can't be read.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: give a picture or a video")
    if path.is_dir():
        raise InputError(f"{path} is a folder: each picture in it is signed for itself, give one of them")
    notes: list[str] = []
    roots = keys.known(folder)
    inside = credentials.read(path, list(roots.values()))
    embedded = STATES[inside.state] if inside else NONE
    sidecar, beside = _sidecar(path, notes)
    signer = _signer(path, inside, roots)
    if signer is None and beside == NO_CHANGE and sidecar and sidecar.chain:
        signer = keys.root_of(sidecar.chain, roots)
    written = provenance.read_embedded(path)
    mark = None
    try:
        mark = find(_lumas(path))
    except (InputError, OSError) as error:  # OSError: FFmpeg's, of a clip cut off where a frame should be
        if not (inside or sidecar or written):
            raise InputError(str(error)) from error
        notes.append(f"the pixels cannot be searched for the mark: {error}")
    run = _remembered(folder, mark, notes)
    return Verdict(path, embedded, beside, inside, sidecar, signer, written, mark, run, tuple(notes))


def lines(path: Path, folder: Path) -> Iterator[str]:
    """`verify` for a person, line by line; the first says whether the file may be believed."""
    yield from describe(verify(path, folder))


def describe(verdict: Verdict) -> Iterator[str]:
    """A verdict in plain words."""
    yield f"{verdict.path.name}: {_headline(verdict)}"
    yield from _embedded(verdict)
    yield from _beside(verdict)
    yield from _mark(verdict)
    yield from verdict.notes
    manifest = verdict.manifest
    yield from _manifest(manifest, verdict) if manifest else ("no manifest of mien was found",)


def _sidecar(path: Path, notes: list[str]) -> tuple[Sidecar | None, str]:
    """What lies beside the file, and whether its signature holds for it and for the file."""
    try:
        found = provenance.read_sidecar(path)
    except InputError as error:
        notes.append(str(error))
        return None, CHANGED
    if found is None or found.chain is None:
        return found, NONE
    try:
        held = keys.signed_by(found.chain, found.signed, found.signature)
    except InputError as error:
        notes.append(str(error))
        held = False
    if held and found.output is None:
        notes.append("the signed manifest beside it was written before the file was finished: it does not vouch for it")
        return found, NONE
    return found, NO_CHANGE if held and found.output == provenance.sha256(path) else CHANGED


def _signer(path: Path, inside: Credentials | None, roots: dict[str, str]) -> str | None:
    """Whose root trusted credentials lead to: the library says only that there is one, so each is tried alone."""
    if inside is None or inside.state != "trusted":
        return None
    if len(roots) == 1:
        return next(iter(roots))
    alone = ((name, credentials.read(path, [pem])) for name, pem in roots.items())
    return next((name for name, found in alone if found and found.state == "trusted"), None)


def _lumas(path: Path) -> Iterator[Array]:
    """The luma of a picture, or of frames spread over a clip, in an order that soon has some of everywhere."""
    if not video.is_video(path):
        yield picture.load(path).luma()
        return
    index = video.index(path)
    if path.suffix.lower() == ".gif":  # it can only be read from its beginning
        yield from (frame.pixels.luma() for frame in video.read(path, 0, LOOKS, frames=index, ahead=0))
        return
    looks = min(LOOKS, len(index))
    for look in sorted(range(looks), key=lambda number: f"{number:06b}"[::-1]):  # van der Corput's order
        at = len(index) * look // looks
        yield from (frame.pixels.luma() for frame in video.read(path, at, at + 1, frames=index, ahead=0))


def _remembered(folder: Path, mark: Mark | None, notes: list[str]) -> Manifest | None:
    if mark is None:
        return None
    try:
        text = ledger.find(folder, mark.payload)
        return provenance.parse(text) if text else None
    except InputError as error:
        notes.append(str(error))
        return None


def _headline(verdict: Verdict) -> str:
    if CHANGED in (verdict.embedded, verdict.beside):
        return "CHANGED after it was signed, or its signature is forged"
    if verdict.embedded == REFUSED and not verdict.ok:
        return "unchanged since it was signed, but the signer's certificate has run out or is not fit to sign"
    if verdict.ok and verdict.signer is None:
        return "signed by a key that nobody here knows, and unchanged since"
    if verdict.ok:
        return f"signed by {_whose(verdict.signer)}, and unchanged since"
    if verdict.mark is not None:
        return "not signed, but it carries mien's invisible mark"
    return "not signed" if verdict.manifest is None else "not signed: anybody may have written what it says"


def _whose(signer: str | None) -> str:
    return (
        "the local key of this user"
        if signer == ""
        else f"{signer}, whom this user trusts"
        if signer
        else "an unknown key"
    )


def _embedded(verdict: Verdict) -> Iterator[str]:
    found = verdict.credentials
    if found is None:
        can = verdict.path.suffix.lower() in credentials.MIME
        yield "credentials (C2PA): none" if can else f"credentials (C2PA): {verdict.path.suffix} files cannot hold any"
        return
    if verdict.embedded in (CHANGED, REFUSED):
        what = "do not fit the file" if verdict.embedded == CHANGED else f"of {found.name!r}, refused"
        yield f"credentials (C2PA): {what}: {', '.join(found.problems)}"
        return
    yield f"credentials (C2PA): valid, by {found.name!r} ({found.algorithm}), {_whose(verdict.signer)}; made by {found.generator}"
    for action, words in found.actions:
        yield f"  {action}{f': {words}' if words else ''}"
    for name, known in found.inputs.items():
        yield f"  from {name}: {known}"
    if found.earlier:
        yield f"  the inputs brought {found.earlier} earlier manifest{'s' if found.earlier > 1 else ''} along"


def _beside(verdict: Verdict) -> Iterator[str]:
    name = provenance.sidecar_path(verdict.path).name
    sidecar = verdict.sidecar
    if sidecar is None:
        if verdict.beside == NONE:
            yield f"beside it: no {name}"
        return
    said = {NO_CHANGE: "signed and unchanged", CHANGED: "does NOT fit the file or was changed", NONE: "not signed"}
    yield f"beside it: {name}, {said[verdict.beside]}"
    inside = verdict.credentials
    if inside and inside.manifest and inside.manifest != sidecar.manifest.to_json():
        yield f"  {name} tells another story than the credentials in the file"
    if verdict.written and verdict.written != sidecar.manifest and set(verdict.written.inputs) != {"manifest"}:
        yield f"  {name} tells another story than the metadata of the file"


def _mark(verdict: Verdict) -> Iterator[str]:
    mark, manifest = verdict.mark, verdict.manifest
    if mark is None:
        yield "invisible mark: none found"
        return
    right = f"{mark.coded - mark.corrected} of {mark.coded} bits right"
    if manifest is None:
        whose = f"of run {mark.payload:012x}, which this user's ledger does not know"
    elif mark.payload == payload_of(manifest.to_json()):
        whose = "of the run named below"
    else:
        whose = f"of ANOTHER run, {mark.payload:012x}, than the one named below"
    yield f"invisible mark: found, {right}, {whose}"


def _manifest(manifest: Manifest, verdict: Verdict) -> Iterator[str]:
    witnesses = verdict.embedded == NO_CHANGE or verdict.sidecar or verdict.written
    place = "" if witnesses else " (from this user's ledger, by the mark)"
    yield f"the run{place}: {manifest.action}, {_system(manifest)}"
    yield f"  what it is: {provenance.source_type(manifest).rsplit('/', 1)[-1]} (IPTC)"
    for whom, consent in manifest.consents.items():
        yield f"  consent{f' for {whom}' if whom else ''}: {consent}"
    for kind, hashes in (("input", manifest.inputs), ("weights", manifest.weights)):
        for name, digest in hashes.items():
            yield f"  {kind} {name}: sha256 {digest}"
    yield "  versions: " + ", ".join(f"{name} {number}" for name, number in manifest.versions.items())


def _system(manifest: Manifest) -> str:
    return f"system {manifest.settings['system']}" if "system" in manifest.settings else "no system named"
