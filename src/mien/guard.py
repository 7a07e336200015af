"""What is asked before a face is swapped: is it a protected person's, and did its owner agree. And who signs the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np

from mien import image, weights
from mien.errors import InputError, SettingsError
from mien.faces.recognise import IdentityEmbedder
from mien.faces.record import Track
from mien.rendering import Finish
from mien.trust import consent, keys, label, ledger, protected
from mien.trust.credentials import Seal
from mien.trust.mark import MOVING, REGION, Stamp
from mien.types import Array, Consent, Face, Manifest, Pixels


@dataclass(frozen=True)
class TrustSettings:
    """sign: with C2PA; mark: invisibly; label: words to show in a corner, None for none.

    certificate, key: PEM files of the user's own, None for the key made on this machine; passphrase: a file with the words that
    open the protected list, None where its key lies beside it.
    """

    sign: bool = True
    mark: bool = True
    label: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    passphrase: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise SettingsError("a key of your own needs both --certificate and --key")
        if self.label is not None:
            label.check(self.label)

    def deciding(self) -> dict[str, bool | str | None]:
        """What of it decides pixels or bytes, for the manifest."""
        return {"sign": self.sign, "mark": self.mark, "label": self.label}


@dataclass(frozen=True)
class Guard:
    """The folder of a user's keys, consents and protected people, and the day it is. warnings: filled as it is asked."""

    home: Path
    settings: TrustSettings
    today: date
    warnings: list[str] = field(default_factory=list)

    @cached_property
    def _embedder(self) -> IdentityEmbedder:
        return IdentityEmbedder()

    @cached_property
    def network(self) -> str:
        """SHA-256 of the identity weights, that vectors are kept with."""
        return weights.cards()["identity"].sha256

    @cached_property
    def _local(self) -> keys.Signer:
        return keys.local(self.home)

    @cached_property
    def _protected(self) -> protected.ProtectedList:
        return protected.read(self.home, self.settings.passphrase)

    def vectors(self, pixels: Pixels, faces: Sequence[Face]) -> Array:
        """Identity vectors (N x D) of faces of one picture."""
        return self._embedder.embed(image.to_8bit(pixels.rgb()), np.stack([face.points for face in faces]))

    def refuse_sources(self, people: Mapping[str, Array]) -> None:
        """Raise InputError where a source person (name -> vectors, one a photo) is protected."""
        for name, vectors in people.items():
            self._protected.refuse(f"the source{f' of {name}' if name else ''}", vectors, self.network)

    def refuse_faces(self, target: Path, pixels: Pixels, faces: Mapping[str, Face]) -> None:
        """Raise InputError where a face of a picture is a protected person's."""
        if self._protected.entries and faces:
            for name, vector in zip(faces, self.vectors(pixels, list(faces.values())), strict=True):
                self._protected.refuse(f"{name} of {target.name}", vector[None], self.network)

    def refuse_tracks(self, target: Path, tracks: Sequence[Track]) -> None:
        """Raise InputError where a person of a clip is protected, judged on the best view of the track."""
        for track in tracks if self._protected.entries else ():
            vector = self._embedder.embed(track.view.rgb, track.view.points[None])
            self._protected.refuse(f"{track.name} of {target.name}", vector, self.network)

    def consents(self, people: Mapping[str, Array], given: Consent) -> dict[str, Consent]:
        """What each source person (name -> vectors) agreed to: what is given now, which is recorded, or what was recorded before.

        Raises InputError where the given consent's last day is over. One that has ended since is told in the warnings.
        """
        if consent.expired(given, self.today):
            raise InputError(f"the consent ended on {given.until}: ask {given.person or 'the person'} anew")
        if given.statement is not None:
            sign, verify = self._local.sign, self._local.verify
            return {
                name: consent.record(self.home, given, vectors, self.network, self.today, sign, verify).consent
                for name, vectors in people.items()
            }
        return {name: self._recorded(vectors) for name, vectors in people.items()}

    def _recorded(self, vectors: Array) -> Consent:
        if not consent.any_in(self.home):
            return Consent()
        registry = consent.load(self.home, self._local.verify)
        self.warnings.extend(line for line in registry.doubted if line not in self.warnings)
        found = registry.find(vectors, self.network, self.today)
        if found is None:
            return Consent()
        if found.expired:
            self.warnings.append(f"a consent ended on {found.record.consent.until} ({found.record.consent}): ask anew")
            return Consent()
        return found.record.consent

    def finish(self, manifest: Manifest, moving: bool) -> Finish:
        """What painted-over frames get: the label, the mark that leads to this manifest, which is remembered for that.

        moving: whether they are a clip's.
        """
        inside = MOVING if moving else REGION
        stamp = Stamp(ledger.keep(self.home, manifest), inside=inside) if self.settings.mark else None
        return Finish(stamp, self.settings.label)

    @cached_property
    def signer(self) -> keys.Signer | None:
        """Who signs: the user's own key, else the one of this machine; None where nothing is to be signed."""
        if not self.settings.sign:
            return None
        if self.settings.certificate is None or self.settings.key is None:
            return self._local
        return keys.load(self.settings.certificate, self.settings.key)

    def seal(self, files: Mapping[str, Path]) -> Seal | None:
        """What signs the output. files: what was read, by the manifest's names."""
        return Seal(self.signer, dict(files)) if self.signer else None
