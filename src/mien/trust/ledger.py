"""The runs of this user, by what their invisible mark says: a file that lost all it said of itself leads back to its run.

FOLDER/ledger/<12 hex digits>.json     the run's manifest, as `Manifest.to_json` writes it; for this user's eyes only
"""

from __future__ import annotations

import json
from pathlib import Path

from mien.errors import InputError
from mien.trust import vault
from mien.types import Manifest


def keep(folder: Path, manifest: Manifest) -> int:
    """Remember a run; returns the payload of its mark. Kept once. Raises OutputError where it can't be written."""
    from mien.trust.mark import payload_of

    text = manifest.to_json()
    payload = payload_of(text)
    path = _path(folder, payload)
    if not path.exists():
        vault.put(path, text.encode())
    return payload


def find(folder: Path, payload: int) -> str | None:
    """The manifest's JSON of the run with that payload (48 bits), or None. Raises InputError where its file was changed."""
    from mien.trust.mark import payload_of

    path = _path(folder, payload)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read; delete it") from error
    if payload_of(text) != payload:
        raise InputError(f"{path} was changed: what it says is not believed; delete it")
    return text


def forget(folder: Path, who: str) -> int:
    """Delete the runs whose consents name a person (capitals don't matter) or a record; how many there were.

    What can't be read is deleted too: it leads nowhere. Raises OutputError where one can't be deleted.
    """
    gone, wanted = 0, " ".join(who.split()).casefold()
    for path in sorted((folder / "ledger").glob("*.json")):
        try:
            consents = json.loads(path.read_text(encoding="utf-8"))["consents"].values()
            known = {str(said[key]).casefold() for said in consents for key in ("person", "record") if said[key]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            known = {wanted}
        if wanted in known:
            vault.remove(path)
            gone += 1
    return gone


def _path(folder: Path, payload: int) -> Path:
    return folder / "ledger" / f"{payload:012x}.json"
