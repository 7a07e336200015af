"""Finished pieces of a long measurement, one JSON line each, so that a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien import provenance
from mien.errors import InputError, OutputError


class Journal:
    """Rows by their key. A line is appended by one write; a line that a kill or a full disk cut short is taken off again.

    Raises InputError where the file holds something else, OutputError where it can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_bytes() if path.exists() else b""
            whole = text[: text.rfind(b"\n") + 1]
            if len(whole) < len(text):
                os.truncate(path, len(whole))
        except OSError as error:
            raise OutputError(f"cannot keep {path}: {error.strerror}; choose another folder with --out") from error
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
                self.rows[row["key"]] = row
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}, line {number}, is no row of a run: delete the file to start anew") from error

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """Append a row. Numbers must be finite: a figure that can't be had is left out of its row, or None."""
        kept = {"key": key, **row}
        line = json.dumps(kept, sort_keys=True, allow_nan=False).encode() + b"\n"
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if os.write(file, line) < len(line):
                    raise OSError(28, "no space left on the device")
            finally:
                os.close(file)
        except OSError as error:
            raise OutputError(f"cannot write {self.path}: {error.strerror}; what is finished is kept") from error
        self.rows[key] = kept


def state() -> str:
    """A digest of what could change a figure but its inputs: this package's code and weights, libraries, the machine's kind."""
    folder = Path(provenance.__file__).parent
    parts = [f"{name} {version}" for name, version in provenance.versions().items()] + [platform.machine()]
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".py", ".onnx", ".npz", ".json", ".jpg"):
            parts.append(f"{path.relative_to(folder)} {provenance.sha256(path)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
