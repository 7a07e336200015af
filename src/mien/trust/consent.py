"""Who agreed to what, remembered: one signed file a consent, found again by another photo of the same person.

A record says who, what for, until when, in which words, and when it was recorded. Of the face it keeps neither photo nor
vector but a keyed sketch (`likeness.sketch`; its docstring says what that gives away). A record that was changed, renamed or
signed by another key is not believed, and is named.

    FOLDER/consents/salt          32 secret bytes; without them no face finds its record
    FOLDER/consents/<id>.json     {"record": {...}, "signature": base64}

No function reads the clock: the day is handed in.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from mien.errors import InputError
from mien.trust import likeness, vault
from mien.types import Array, Consent

SAME = 0.7
"""Estimated cosine from which on a photo finds a record: strict, because a wrong find lends somebody else's consent.

Over London and the portraits 3 of 10,000 pairs reach it, nearly all of them one person in two lists, and none to two of the
5,940 pairs of strangers in one studio. The price: of two photos of one person from different years or lenses 27 to 45 %
don't, 2 to 4 % of those of one sitting, and the consent is asked for again (`benchmarks/protected.py --only consent`).
"""
SALT_BYTES = 32
MAX_STATEMENT = 10_000
DOMAIN = b"mien consent 1\n"
"""Signed before the record, so that no signature made for something else passes for one of a consent."""
KEYS = ("person", "purpose", "until", "statement")
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, binascii.Error)

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes], bool]
"""(what was signed, signature) -> whether this key made it."""


@dataclass(frozen=True)
class Record:
    """A consent as it is kept; `consent.record` is its id. network: sha256 of the weights that `sketch` was made with."""

    consent: Consent
    recorded: date
    network: str
    sketch: bytes

    @property
    def id(self) -> str:
        """Sixteen random hex digits."""
        return str(self.consent.record)

    def line(self, today: date) -> str:
        """One line for a person."""
        ended = " (ended)" if expired(self.consent, today) else ""
        return f"{self.id}  {self.consent}{ended}; recorded {self.recorded}"


@dataclass(frozen=True)
class Found:
    """A record of the person asked for, how alike the faces are (estimated cosine), and whether its last day is over."""

    record: Record
    cosine: float
    expired: bool


@dataclass(frozen=True)
class Registry:
    """The consents of a folder. doubted: one line for each file that isn't believed, with the reason."""

    records: tuple[Record, ...]
    doubted: tuple[str, ...]
    salt: bytes | None

    def find(self, vectors: Array, network: str, today: date, same: float = SAME) -> Found | None:
        """The consent of the person with these identity vectors (N x D, one a photo), valid ones first, then the likest.

        network: sha256 of the weights that made the vectors; those of other weights can't be compared.
        """
        if self.salt is None:
            return None
        asked = likeness.sketch(likeness.mean(vectors), self.salt)
        known = [(r, likeness.cosine(asked, r.sketch)) for r in self.records if r.network == network]
        near = [Found(r, cosine, expired(r.consent, today)) for r, cosine in known if cosine >= same]
        return max(near, key=lambda f: (not f.expired, f.cosine, f.record.recorded), default=None)


def read(value: str | None) -> Consent:
    """What was agreed, as a user gives it: words, a text file, or a YAML file with person, purpose, until, statement.

    "until 2027-01-31" within the words is taken as the last day. None: not stated. Raises InputError for what is no consent:
    nothing at all, the name of a file that isn't there, another key, a day that doesn't exist.
    """
    if value is None:
        return Consent()
    path = Path(value)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # many words are too long for a file's name
        is_file = False
    if is_file:
        return _from_file(path)
    if re.fullmatch(r"\S*[^\W\d]\.(txt|ya?ml|md|json)", value.strip()):
        raise InputError(f"{value} does not exist: give the consent's file, or its words")
    return given(value)


def given(
    statement: str, person: str | None = None, purpose: str | None = None, until: str | None = None, where: str = ""
) -> Consent:
    """A consent of its parts, checked. where: the file it is from, for the messages. Raises InputError."""
    place = f"{where}: " if where else ""
    words = statement.strip()
    if not words:
        raise InputError(f"{place}a consent needs words: who agreed to what, how and when")
    if len(words) > MAX_STATEMENT:
        raise InputError(f"{place}a consent of {len(words)} characters is too long: {MAX_STATEMENT} are kept at most")
    said = re.search(r"\buntil (\d{4}-\d{2}-\d{2})\b", words)
    day = until or (said[1] if said else None)
    try:
        last = None if day is None else date.fromisoformat(day.strip()).isoformat()
    except ValueError:
        raise InputError(f"{place}'{day}' is no day: write the last day as 2027-01-31") from None
    return Consent(_one_line(person), words, _one_line(purpose), last)


def expired(consent: Consent, today: date) -> bool:
    """Whether the last day is over."""
    return consent.until is not None and date.fromisoformat(consent.until) < today


def record(
    folder: Path, consent: Consent, vectors: Array, network: str, today: date, sign: Sign, verify: Verify
) -> Record:
    """Keep a consent of the person with these identity vectors (N x D, one a photo).

    The same words about the same face are kept once: the record that is there is returned, so that a job run again has
    the same manifest. Raises InputError where nothing was stated, OutputError where it can't be written.
    """
    if consent.statement is None:
        raise InputError("there is nothing to record: state the consent")
    registry = load(folder, verify)
    already = replace(registry, records=tuple(r for r in registry.records if _same_words(r.consent, consent)))
    if found := already.find(vectors, network, today):
        return found.record
    salt = vault.secret(_folder(folder) / "salt", SALT_BYTES, make=True)
    sketch = likeness.sketch(likeness.mean(vectors), salt)
    made = Record(replace(consent, record=secrets.token_hex(8)), today, network, sketch)
    value = _to_json(made)
    signature = base64.b64encode(sign(_signed(value))).decode()
    text = json.dumps({"record": value, "signature": signature}, indent=2, sort_keys=True, ensure_ascii=False)
    vault.put(_folder(folder) / f"{made.id}.json", text.encode() + b"\n")
    return made


def load(folder: Path, verify: Verify) -> Registry:
    """All consents of a folder, those not believed named. verify: whether the key of this folder made a signature.

    Raises InputError where there are records but the salt is lost or damaged.
    """
    records, doubted = [], []
    paths = sorted(_folder(folder).glob("*.json"))
    for path in paths:
        try:
            value, signature = _parts(path)
            one = _from_json(value)
            if path.stem != one.id or not verify(_signed(value), base64.b64decode(signature, validate=True)):
                doubted.append(f"{path} was changed or signed by another key; it is not believed")
                continue
            records.append(one)
        except DAMAGED:
            doubted.append(f"{path} is damaged; it is not believed")
    salt = vault.secret(_folder(folder) / "salt", SALT_BYTES, make=False) if records else None
    return Registry(tuple(records), tuple(doubted), salt)


def any_in(folder: Path) -> bool:
    """Whether there is anything to `load`; asking makes no key."""
    return any(_folder(folder).glob("*.json"))


def forget(folder: Path, who: str) -> int:
    """Delete every record of a person (capitals don't matter) or the one of an id, believed or not; how many there were.

    Raises OutputError where one can't be deleted.
    """
    gone = 0
    for path in sorted(_folder(folder).glob("*.json")):
        if path.stem == who or _person(path) == _key(who):
            vault.remove(path)
            gone += 1
    return gone


def _folder(folder: Path) -> Path:
    return folder / "consents"


def _from_file(path: Path) -> Consent:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: the consent file must be plain text or YAML") from error
    if path.suffix not in (".yaml", ".yml"):
        return given(text, person=path.stem, where=str(path))
    import yaml

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path} is no YAML: it wants lines like 'person: Anna'") from error
    known = value if isinstance(value, dict) else {}
    if set(known) - set(KEYS) or "statement" not in known:
        raise InputError(f"{path} wants the keys person, purpose, until and statement, of which the last must be there")
    parts = {k: v.isoformat() if isinstance(v, date) else v for k, v in known.items() if v is not None}
    if not all(isinstance(v, str) for v in parts.values()):
        raise InputError(f"{path}: person, purpose, until and statement are texts")
    return given(parts.pop("statement", ""), **parts, where=str(path))


def _one_line(text: str | None) -> str | None:
    return " ".join(text.split()) or None if text else None


def _key(name: str) -> str:
    """What two spellings of a name have in common."""
    return " ".join(name.split()).casefold()


def _same_words(one: Consent, other: Consent) -> bool:
    return replace(one, record=None) == replace(other, record=None)


def _parts(path: Path) -> tuple[dict[str, Any], str]:
    value = json.loads(path.read_text(encoding="utf-8"))
    return value["record"], value["signature"]


def _person(path: Path) -> str | None:
    """The name in a file, whether it is believed or not: what carries a name goes when the name is forgotten."""
    try:
        return _key(_parts(path)[0]["person"])
    except DAMAGED:
        return None


def _signed(value: dict[str, Any]) -> bytes:
    return DOMAIN + json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _to_json(made: Record) -> dict[str, Any]:
    agreed = {key: getattr(made.consent, key) for key in KEYS}
    sketch = base64.b64encode(made.sketch).decode()
    return agreed | {"id": made.id, "recorded": made.recorded.isoformat(), "network": made.network, "sketch": sketch}


def _from_json(value: dict[str, Any]) -> Record:
    """Raises one of DAMAGED where it is no record."""
    agreed = Consent(**{key: value[key] for key in KEYS}, record=value["id"])
    expired(agreed, date.min)  # a day that can't be read is damage
    sketch = base64.b64decode(value["sketch"], validate=True)
    if len(sketch) * 8 != likeness.BITS:
        raise ValueError("another sketch")
    return Record(agreed, date.fromisoformat(value["recorded"]), value["network"], sketch)
