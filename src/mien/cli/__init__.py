"""The command line: every command builds the same values as the Python interface and prints what came of them.

Heavy imports happen inside the commands, so that `mien --help` answers at once.
"""

from __future__ import annotations

import sys

import typer

from mien.cli import swap  # isort: skip  # importing a module registers its commands, in this order
from mien.cli import quality  # isort: skip
from mien.cli import train  # isort: skip
from mien.cli import faceset  # isort: skip
from mien.cli import export  # isort: skip
from mien.cli import people  # isort: skip
from mien.cli import trust  # isort: skip
from mien.cli import about  # isort: skip
from mien.cli.common import app
from mien.errors import InputError

__all__ = ["about", "app", "export", "faceset", "main", "people", "quality", "swap", "train", "trust"]


def main() -> None:
    """The `mien` program."""
    try:
        app()
    except InputError as error:  # raised before a command could answer for itself
        typer.echo(f"mien: {error}", err=True)
        sys.exit(2)
