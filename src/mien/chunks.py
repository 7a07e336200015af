"""Work in pieces that survive a kill: a folder beside the output where each finished piece is named by its checksum.

A piece counts as done when its note exists and the file is what the note says. The folder belongs to one job: its key
is a digest of everything that decides a byte of the result, so another job, or another version, starts anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.errors import OutputError
from mien.provenance import sha256, write_bytes


class Work:
    """The pieces of one job. Raises OutputError when the folder cannot be made."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        name = folder / "job.json"
        try:
            if folder.exists() and _read(name).get("key") != key:
                shutil.rmtree(folder)
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the work folder {folder}: {error.strerror}") from error
        write_bytes(name, json.dumps({"key": key}).encode())

    def piece(self, number: int) -> Path:
        """Where piece `number` is written."""
        return self.folder / f"chunk-{number:05d}.nut"

    def note(self, number: int) -> Mapping[str, Any] | None:
        """What was noted of a finished piece; None when it has to be made (again)."""
        note = _read(self.piece(number).with_suffix(".json"))
        piece = self.piece(number)
        return note.get("record") if piece.exists() and note.get("sha256") == sha256(piece) else None

    def finish(self, number: int, record: Mapping[str, Any]) -> None:
        """Note that a piece is complete."""
        piece = self.piece(number)
        note = {"sha256": sha256(piece), "record": record}
        write_bytes(piece.with_suffix(".json"), json.dumps(note).encode())

    def remove(self) -> None:
        """The job is finished: nothing of the folder is needed any more."""
        shutil.rmtree(self.folder)


def _read(path: Path) -> dict[str, Any]:
    """A note, or an empty one when it is missing or was cut short."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
