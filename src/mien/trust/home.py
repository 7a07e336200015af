"""Where mien keeps what belongs to this user: the signing key, consents, the protected list, the ledger of runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def home_from_environment() -> Path:
    """MIEN_HOME, else the platform's place for a program's data; for entry points, which hand it down. It may not exist yet."""
    if stated := os.environ.get("MIEN_HOME"):
        return Path(stated)
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData/Roaming") / "mien"
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/mien"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "mien"
