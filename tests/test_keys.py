"""Keys: one local pair for everybody who comes at once, renewed in time; the user's own, refused with the reason."""

from __future__ import annotations

import stat
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mien.errors import InputError, OutputError
from mien.trust import certificates, keys

TODAY = date(2026, 11, 21)
PLAIN = form.NoEncryption()


def test_the_local_key_is_made_once_for_this_users_eyes(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    first, second = keys.local(folder, TODAY), keys.local(folder, TODAY)
    assert first.chain == second.chain
    assert first.sign(b"abc") == second.sign(b"abc"), "without chance"
    assert first.name.startswith("mien, local key ")
    assert len(first.name.split()[-1]) == 8
    assert stat.S_IMODE((folder / keys.FILE).stat().st_mode) == 0o600
    assert "PRIVATE" not in repr(first)
    assert keys.root_of(first.chain, keys.known(folder), TODAY) == ""


def test_processes_that_come_at_once_use_one_key(tmp_path: Path) -> None:
    program = "import sys, pathlib; from mien.trust import keys; print(keys.local(pathlib.Path(sys.argv[1])).name)"
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    names = {job.communicate(timeout=60)[0] for job in started}
    assert len(names) == 1
    assert [path.name for path in tmp_path.iterdir()] == [keys.FILE]


def test_a_local_key_that_has_run_out_is_renewed_by_its_root(tmp_path: Path) -> None:
    old = keys.local(tmp_path, TODAY)
    late = date(TODAY.year + keys.LEAF_YEARS + 1, 1, 1)
    new = keys.local(tmp_path, late)
    assert new.chain != old.chain
    assert new.name == old.name
    assert keys.root_of(new.chain, keys.known(tmp_path), late) == ""
    assert keys.root_of(old.chain, keys.known(tmp_path), late) is None, "an old certificate counts no more"
    assert stat.S_IMODE((tmp_path / keys.FILE).stat().st_mode) == 0o600


def test_signatures_are_told_apart(tmp_path: Path) -> None:
    ours, theirs = keys.local(tmp_path / "a", TODAY), keys.local(tmp_path / "b", TODAY)
    signature = ours.sign(b"abc")
    assert ours.verify(b"abc", signature)
    assert not ours.verify(b"abd", signature)
    assert not theirs.verify(b"abc", signature)
    assert not ours.verify(b"abc", b"")
    assert keys.root_of(theirs.chain, keys.known(tmp_path / "a"), TODAY) is None
    mixed = ours.chain[: ours.chain.index("-----END")] + theirs.chain[theirs.chain.index("-----END") :]
    forged = theirs.chain.split("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n" + _root(ours.chain)
    assert mixed != forged
    assert keys.root_of(forged, keys.known(tmp_path / "a"), TODAY) is None, "a leaf that the root did not issue"
    assert not keys.known(tmp_path / "nowhere")


def test_a_leaf_cannot_issue_another(tmp_path: Path) -> None:
    ours = keys.local(tmp_path, TODAY)
    leaf = x509.load_pem_x509_certificates(ours.chain.encode())[0]
    key = ec.generate_private_key(ec.SECP256R1())
    below = certificates.make("an impostor", key, leaf, ours.key, TODAY, 1)
    below.verify_directly_issued_by(leaf)
    assert keys.root_of(ours.chain, keys.known(tmp_path), TODAY) == ""
    assert keys.root_of(certificates.pem([below]) + ours.chain, keys.known(tmp_path), TODAY) is None


def test_others_become_known_by_a_file(tmp_path: Path) -> None:
    friend = keys.local(tmp_path / "friend", TODAY)
    trusted = tmp_path / "home" / keys.TRUSTED
    trusted.mkdir(parents=True)
    (trusted / "newsroom.pem").write_text(_root(friend.chain))
    assert keys.root_of(friend.chain, keys.known(tmp_path / "home"), TODAY) == "newsroom"
    (trusted / "empty.pem").write_text("nothing")
    with pytest.raises(InputError, match=r"empty\.pem holds no certificate"):
        keys.known(tmp_path / "home")


@pytest.mark.parametrize("kind", ["es256", "es384", "es512", "ed25519", "ps256"])
def test_the_users_own_key_signs(tmp_path: Path, kind: str) -> None:
    made = {"es256": ec.SECP256R1, "es384": ec.SECP384R1, "es512": ec.SECP521R1}
    key = (
        ed25519.Ed25519PrivateKey.generate()
        if kind == "ed25519"
        else rsa.generate_private_key(65537, 2048)
        if kind == "ps256"
        else ec.generate_private_key(made[kind]())
    )
    signer = keys.load(*_files(tmp_path, key), today=TODAY)
    assert signer.algorithm == kind
    assert signer.name == "A user"
    assert signer.verify(b"abc", signer.sign(b"abc"))
    assert not signer.verify(b"abcd", signer.sign(b"abc"))
    assert signer.repeatable == (signer.sign(b"abc") == signer.sign(b"abc"))


def test_a_key_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    chain, file = _files(tmp_path, key)
    other = tmp_path / "other.pem"
    other.write_bytes(_pem(ec.generate_private_key(ec.SECP256R1())))
    locked = tmp_path / "locked.pem"
    locked.write_bytes(_pem(key, form.BestAvailableEncryption(b"secret")))
    root = tmp_path / "root.pem"
    root.write_text(_root(chain.read_text()))
    damaged = tmp_path / "damaged.pem"
    damaged.write_bytes(file.read_bytes()[:40] + b"AAAA" + file.read_bytes()[44:])
    text = tmp_path / "text.pem"
    text.write_text("no key")
    for pair, says in [
        ((chain, other), "does not belong"),
        ((chain, locked), "passphrase"),
        ((chain, damaged), "damaged"),
        ((chain, text), "no private key"),
        ((text, file), "no certificate"),
        ((tmp_path / "missing.pem", file), "cannot be read"),
    ]:
        with pytest.raises(InputError, match=says) as caught:
            keys.load(*pair, today=TODAY)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="ended on"):
        keys.load(chain, file, today=date(2099, 1, 1))


def test_a_certificate_that_c2pa_would_refuse_is_refused_at_once(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    root = certificates.make("A root", key, None, key, TODAY, 1)
    (tmp_path / "chain.pem").write_text(certificates.pem([root]))
    (tmp_path / "key.pem").write_bytes(_pem(key))
    with pytest.raises(InputError, match="not made for C2PA"):
        keys.load(tmp_path / "chain.pem", tmp_path / "key.pem", today=TODAY)


def test_a_damaged_or_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / keys.FILE).write_text("nothing")
    with pytest.raises(InputError, match="delete it and a new key is made"):
        keys.local(tmp_path, TODAY)
    with pytest.raises(OutputError):
        keys.local(tmp_path / keys.FILE / "below a file", TODAY)


def _files(folder: Path, key: object) -> tuple[Path, Path]:
    """A chain of a root of its own and this key, and the key."""
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = certificates.make("A root", root_key, None, root_key, TODAY, 2)
    leaf = certificates.make("A user", key, root, root_key, TODAY, 1)
    (folder / "chain.pem").write_text(certificates.pem([leaf, root]))
    (folder / "key.pem").write_bytes(_pem(key))
    return folder / "chain.pem", folder / "key.pem"


def _pem(key: object, lock: form.KeySerializationEncryption = PLAIN) -> bytes:
    return bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, lock))  # type: ignore[attr-defined]


def _root(chain: str) -> str:
    return certificates.pem([x509.load_pem_x509_certificates(chain.encode())[-1]])
