"""Rows of a run to a table: every figure with its unit, which way is better, and how many pairs it is a mean of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mien import provenance
from mien.errors import InputError


@dataclass(frozen=True)
class Cell:
    """A figure over some pairs: mean, half the width of its 95 % interval (normal approximation), count."""

    mean: float
    spread: float
    count: int


@dataclass(frozen=True)
class Line:
    """A line of the table: figure (key of a row), the words for it, how many decimals, what to multiply by."""

    figure: str
    words: str
    decimals: int = 2
    times: float = 1.0


def cell(values: Iterable[float | None]) -> Cell | None:
    """Mean, spread and count of what was measured; None where nothing was."""
    known = np.array([value for value in values if value is not None], float)
    if not len(known):
        return None
    spread = 1.96 * known.std(ddof=1) / np.sqrt(len(known)) if len(known) > 1 else 0.0
    return Cell(float(known.mean()), float(spread), len(known))


def markdown(
    systems: Mapping[str, Mapping[str, Cell | None]], lines: Sequence[Line], asked: Mapping[str, int], spreads: bool
) -> str:
    """A markdown table, a figure a line, a system a column.

    asked: figure -> pairs it was asked of; a cell with another count says its own in brackets.
    """
    names = list(systems)
    text = [f"| | n | {' | '.join(names)} |", f"|---|--:|{'--:|' * len(names)}"]
    for line in lines:
        cells = [_shown(systems[name].get(line.figure), line, asked[line.figure], spreads) for name in names]
        if any(cells):
            text.append(f"| {line.words} | {asked[line.figure]} | {' | '.join(cells)} |")
    return "\n".join(text)


def _shown(found: Cell | None, line: Line, asked: int, spreads: bool) -> str:
    if found is None:
        return ""
    shown = f"{found.mean * line.times:.{line.decimals}f}"
    if spreads and found.count > 1:
        shown += f" ± {found.spread * line.times:.{line.decimals}f}"
    return shown if found.count == asked else f"{shown} ({found.count})"


def insert(page: Path, name: str, text: str) -> None:
    """Put `text` between the page's lines `<!-- name -->` and `<!-- /name -->`, in place of what is there.

    Raises InputError where the page has no such lines, OutputError where it can't be written.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    try:
        old = page.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{page} cannot be read: give a page of text") from error
    if old.count(start) != 1 or old.count(end) != 1 or old.index(start) > old.index(end):
        raise InputError(f"{page} needs the lines {start} and {end}, once each: the table goes between them")
    head, tail = old[: old.index(start) + len(start)], old[old.index(end) :]
    provenance.write_bytes(page, f"{head}\n{text}\n{tail}".encode())


def values(rows: Iterable[Mapping[str, Any]], kind: str, figure: str) -> list[float | None]:
    """A figure of all rows of one kind; None where it was not measured."""
    return [row["figures"].get(figure) for row in rows if row["kind"] == kind]
