"""Encryption at rest: AES-256-GCM under a key that lies in this user's folder, with or without a passphrase on top.

What it protects against: a folder that is copied, synchronised, backed up or sent without its key file, and other users of
the machine. What it doesn't: whoever can read the key file (this user, the machine's administrator, a program run
by them), unless a passphrase was set; and nobody is kept from deleting a file. How many files there are, and when each was
written, is seen from outside. After a deletion the disk may keep the old bytes for a while.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from mien.errors import InputError, OutputError

KEY_FILE = "vault.key"
KEY_BYTES, NONCE_BYTES = 32, 12
MAGIC = {False: b"mien vault 1 key\n", True: b"mien vault 1 passphrase\n"}
"""How a sealed file begins, without and with a passphrase."""
SCRYPT = {"n": 1 << 15, "r": 8, "p": 1}
"""Cost of a guess at the passphrase (RFC 7914): 32 MiB and about a tenth of a second."""


@dataclass(frozen=True)
class Vault:
    """Seals and opens bytes with one key. Make it with `open_vault`."""

    key: bytes = field(repr=False)
    locked: bool = False

    def seal(self, name: str, plain: bytes) -> bytes:
        """The bytes encrypted, bound to a name: put under another one they don't open."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce, magic = secrets.token_bytes(NONCE_BYTES), MAGIC[self.locked]
        return magic + nonce + AESGCM(self.key).encrypt(nonce, plain, magic + name.encode())

    def open(self, name: str, sealed: bytes) -> bytes:
        """What was sealed under this name. Raises InputError for damaged bytes, another key, another name."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        magic = MAGIC[self.locked]
        if not sealed.startswith(magic):
            if sealed.startswith(MAGIC[True]):
                raise InputError(f"{name} is locked with a passphrase: name the file that holds it with --passphrase")
            if sealed.startswith(MAGIC[False]):
                raise InputError(f"{name} was made without a passphrase: leave --passphrase out")
            raise InputError(f"{name} is damaged: delete it and enrol that person again")
        body = sealed[len(magic) :]
        try:
            return AESGCM(self.key).decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], magic + name.encode())
        except (InvalidTag, ValueError):  # ValueError: cut off within the nonce
            cause = "the passphrase is another one" if self.locked else f"{KEY_FILE} is another one"
            raise InputError(
                f"{name} does not open: it is damaged or {cause}; put the right one back, or delete it and enrol again"
            ) from None


def open_vault(folder: Path, passphrase: Path | None = None, *, make: bool = False) -> Vault:
    """The vault of a folder. make: draw a key where there is none yet.

    passphrase: a text file; its content, without blanks at the ends, is needed to open whatever was sealed with it.
    Raises InputError where the key or the passphrase can't be read, OutputError where a key can't be kept.
    """
    path = folder / KEY_FILE
    key = secret(path, KEY_BYTES, make=make)
    if passphrase is None:
        return Vault(key)
    try:
        words = passphrase.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{passphrase} cannot be read: it wants to be a text file with the passphrase") from error
    if not words:
        raise InputError(f"{passphrase} is empty: write a passphrase into it")
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Vault(Scrypt(salt=key, length=KEY_BYTES, **SCRYPT).derive(words.encode()), locked=True)


def secret(path: Path, size: int, *, make: bool) -> bytes:
    """The `size` random bytes that `path` holds. make: draw them where it isn't there yet.

    Of two processes that draw at once one wins and both get its bytes. Raises InputError where it is missing or has
    another length, OutputError where it can't be written.
    """
    if make and not path.exists():
        put(path, secrets.token_bytes(size))
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing: put it back, or delete what was made with it and start anew") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if len(found) != size:
        raise InputError(f"{path} is damaged: put the right one back, or delete it and what was made with it")
    return found


def put(path: Path, data: bytes) -> None:
    """Write a new file for this user's eyes only: it appears with all its bytes or not at all, and is never replaced.

    Raises OutputError where it can't be written.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was faster: its bytes count
                os.link(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror}); choose another folder with MIEN_HOME"
        ) from error


def remove(path: Path) -> None:
    """Delete a file, if it is there. Raises OutputError where that can't be done."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be deleted ({error.strerror}): delete it by hand") from error
