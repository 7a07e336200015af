"""Keys that sign what mien makes: the user's own, or a local one that is made at first use and never leaves its folder.

    FOLDER/signing.pem     the local key and its certificate, the root's key and certificate; for this user's eyes only
    FOLDER/trusted/*.pem   certificates of others whose signatures count as known

The local pair is a P-256 root and a leaf that it issued, as a C2PA claim signer needs it (C2PA specification 2.1, 14.5).
Its name holds eight hex digits of the root's key and nothing of the person.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import InputError, OutputError
from mien.trust import certificates, vault

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

FILE, TRUSTED = "signing.pem", "trusted"
ROOT_YEARS, LEAF_YEARS = 40, 10
"""A signature carries no time stamp (that would need a server), so it counts as long as its certificate runs."""
ALGORITHMS = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
PURPOSES = frozenset(("1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.36", "1.3.6.1.4.1.62558.2.1"))
"""Extended key usages of a claim signer: e-mail protection, document signing, C2PA claim signing."""


@dataclass(frozen=True)
class Signer:
    """Who signs. chain: certificates as PEM, the signer's own first; key: its private key; name: the common name."""

    chain: str
    name: str
    key: Any = field(repr=False, compare=False)

    @property
    def algorithm(self) -> str:
        """The C2PA name of the algorithm: es256, es384, es512, ed25519 or ps256."""
        return _algorithm(self.key)

    @property
    def repeatable(self) -> bool:
        """Whether the same bytes are always signed the same way: elliptic curves yes (RFC 6979, RFC 8032), RSA-PSS no."""
        return self.algorithm != "ps256"

    def sign(self, data: bytes) -> bytes:
        """The signature in the form of COSE (RFC 9053, 2): for elliptic curves r and s, one behind the other."""
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        if self.algorithm == "ed25519":
            return bytes(self.key.sign(data))
        if self.algorithm == "ps256":
            return bytes(self.key.sign(data, *_pss()))
        r, s = utils.decode_dss_signature(self.key.sign(data, ec.ECDSA(_hash(self.key), deterministic_signing=True)))
        size = (self.key.key_size + 7) // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether this key made the signature of these bytes."""
        return signed_by(self.chain, data, signature)

    def private_pem(self) -> bytes:
        """The private key, for the library that signs; never to be shown or written."""
        from cryptography.hazmat.primitives import serialization as form

        return bytes(self.key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))


def local(folder: Path, today: date | None = None) -> Signer:
    """This user's local key: made once, and its certificate renewed by the root when it has run out.

    Of two processes that come first at once one makes it and both use it. today: for tests; default the clock's.
    Raises InputError where the file is damaged, OutputError where it can't be written.
    """
    today = today or datetime.now(UTC).date()
    path = folder / FILE
    if not path.exists():
        vault.put(path, _pair(today))
    found, private = certificates.blocks(_read(path))
    if len(found) != 2 or len(private) != 2:
        raise InputError(f"{path} is damaged: put the right one back, or delete it and a new key is made")
    if certificates.expired(found[0], today):
        _replace(path, _renewed(found[1], private[1], today))
        found, private = certificates.blocks(_read(path))
    return _signer(found, private[0], path)


def load(chain: Path, key: Path, today: date | None = None) -> Signer:
    """The user's own: PEM files of the certificates (the signer's own first) and of its private key, without a passphrase.

    Raises InputError that says what is wrong: unreadable, encrypted, not a pair, expired, or not made for signing.
    """
    from cryptography import x509

    found, _ = certificates.blocks(_read(chain))
    if not found:
        raise InputError(f"{chain} holds no certificate: give a PEM file with the signer's own first")
    _, private = certificates.blocks(_read(key))
    if not private:
        raise InputError(f"{key} holds no private key: give a PEM file")
    own = found[0]
    if own.public_key() != private[0].public_key():
        raise InputError(f"{key} does not belong to the first certificate of {chain}")
    if certificates.expired(own, today or datetime.now(UTC).date()):
        raise InputError(f"{chain}: the certificate ended on {own.not_valid_after_utc:%Y-%m-%d}; get it renewed")
    try:
        purposes = {use.dotted_string for use in own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value}
    except x509.ExtensionNotFound:
        purposes = set()
    if own.subject == own.issuer or not purposes & PURPOSES:
        raise InputError(
            f"{chain} is not made for C2PA: it wants to be issued by a root, for e-mail protection or signing"
        )
    return _signer(found, private[0], chain)


def known(folder: Path) -> dict[str, str]:
    """Roots (PEM) by the name they go by: "" is the local key's, the others the file names in the trusted folder.

    Raises InputError where a file holds no certificate.
    """
    found = {}
    if (folder / FILE).exists():
        here, _ = certificates.blocks(_read(folder / FILE))
        found[""] = certificates.pem(here[-1:])
    for path in sorted((folder / TRUSTED).glob("*.pem")):
        here, _ = certificates.blocks(_read(path))
        if not here:
            raise InputError(f"{path} holds no certificate: take it out of the trusted folder")
        found[path.stem] = certificates.pem(here)
    return found


def signed_by(chain: str, data: bytes, signature: bytes) -> bool:
    """Whether the key of the chain's first certificate made the signature of these bytes."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    found, _ = certificates.blocks(chain.encode())
    if not found:
        return False
    try:
        public: Any = found[0].public_key()
        kind = _algorithm(public)
        if kind == "ed25519":
            public.verify(signature, data)
        elif kind == "ps256":
            public.verify(signature, data, *_pss())
        else:
            half = len(signature) // 2
            r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
            public.verify(utils.encode_dss_signature(r, s), data, ec.ECDSA(_hash(public)))
    except (InvalidSignature, UnsupportedAlgorithm, InputError, ValueError):
        return False
    return True


def root_of(chain: str, roots: dict[str, str], today: date | None = None) -> str | None:
    """The name of the root (see `known`) that a chain of certificates leads to; None where to none, or where one has run out.

    Every certificate must be issued by the next, the last by the root or be the root itself.
    """
    found, _ = certificates.blocks(chain.encode())
    if not found or any(certificates.expired(one, today or datetime.now(UTC).date()) for one in found):
        return None
    if not all(certificates.issued(child, parent) for child, parent in pairwise(found)):
        return None
    for name, pem in roots.items():
        anchors, _ = certificates.blocks(pem.encode())
        if any(anchor in found or certificates.issued(found[-1], anchor) for anchor in anchors):
            return name
    return None


def _algorithm(key: Any) -> str:
    """Of a private or public key. Raises InputError for kinds that C2PA doesn't know."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey) and key.key_size >= 2048:
        return "ps256"
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) and key.curve.name in ALGORITHMS:
        return ALGORITHMS[key.curve.name]
    raise InputError("this kind of key cannot sign here: use P-256, P-384, P-521, Ed25519 or RSA of 2048 bits or more")


def _hash(key: Any) -> Any:
    from cryptography.hazmat.primitives import hashes

    return {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.key_size]


def _pss() -> tuple[Any, Any]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    return padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256().digest_size), hashes.SHA256()


def _pair(today: date) -> bytes:
    """A new root and a leaf, as the local file holds them."""
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    digits = hashlib.sha256(key.public_key().public_bytes(*_point())).hexdigest()[:8]
    root = certificates.make(f"mien, local root {digits}", key, None, key, today, ROOT_YEARS)
    return _renewed(root, key, today)


def _renewed(root: Certificate, root_key: Any, today: date) -> bytes:
    """The local file with a new leaf of this root."""
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = certificates.name_of(root).replace("root", "key")
    leaf = certificates.make(name, key, root, root_key, today, LEAF_YEARS)
    private = b"".join(Signer("", "", one).private_pem() for one in (key, root_key))
    return private + certificates.pem([leaf, root]).encode()


def _point() -> tuple[Any, Any]:
    from cryptography.hazmat.primitives import serialization as form

    return form.Encoding.X962, form.PublicFormat.CompressedPoint


def _signer(found: list[Certificate], key: Any, path: Path) -> Signer:
    _algorithm(key)
    if key.public_key() != found[0].public_key():
        raise InputError(f"{path} is damaged: its key and its certificate are no pair")
    return Signer(certificates.pem(found), certificates.name_of(found[0]), key)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _replace(path: Path, data: bytes) -> None:
    """Write for this user's eyes only, beside, then rename."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        try:
            with os.fdopen(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
                file.write(data)
            part.replace(path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror}); choose another folder with MIEN_HOME"
        ) from error
