"""Certificates: made, taken out of PEM files, looked through. `keys` says whose they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from mien.errors import InputError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----\n?", re.DOTALL)


def make(name: str, key: Any, issuer: Certificate | None, issuer_key: Any, today: date, years: float) -> Certificate:
    """A certificate for `key` as C2PA wants it of a signer, signed with the issuer's key; without an issuer a root.

    It holds from the day before `today`, for readers whose clock is slow, for so many years.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    root = issuer is None
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "mien")]
    )
    start = datetime.combine(today, time(), UTC) - timedelta(days=1)
    builder = (
        x509.CertificateBuilder(issuer.subject if issuer else subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365.25 * years))
        .add_extension(x509.BasicConstraints(root, None), True)
        .add_extension(x509.KeyUsage(not root, False, False, False, False, root, root, False, False), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    )
    if not root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    return builder.sign(issuer_key, hashes.SHA256())


def name_of(certificate: Certificate) -> str:
    """The subject's common name, else all that is known of it."""
    from cryptography.x509.oid import NameOID

    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()


def pem(certificates: Iterable[Certificate]) -> str:
    """One behind the other as text."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)


def expired(certificate: Certificate, today: date) -> bool:
    """Whether its last whole day is over."""
    return certificate.not_valid_after_utc.date() <= today


def issued(child: Certificate, parent: Certificate) -> bool:
    """Whether the parent is a root or intermediate that signed the child."""
    from cryptography import x509

    try:
        child.verify_directly_issued_by(parent)
        return parent.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except Exception:  # whatever the library makes of a forged certificate, it isn't issued
        return False


def blocks(data: bytes) -> tuple[list[Certificate], list[Any]]:
    """The certificates and the private keys of a PEM file, in order. Raises InputError where one is encrypted or damaged."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    certificates, private = [], []
    for block in PEM.finditer(data):
        try:
            if block[1] == b"CERTIFICATE":
                certificates.append(x509.load_pem_x509_certificate(block[0]))
            elif block[1].endswith(b"PRIVATE KEY"):
                private.append(serialization.load_pem_private_key(block[0], None))
        except TypeError as error:
            hint = "openssl pkey -in KEY -out PLAIN"
            raise InputError(f"the private key is locked with a passphrase: unlock it first ({hint})") from error
        except ValueError as error:
            raise InputError(f"the PEM file is damaged: {' '.join(str(error).split())[:80]}") from error
    return certificates, private
