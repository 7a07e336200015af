"""Rows of a run to a table: every figure with its unit, which way is better, and how many pairs it is a mean of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mien import provenance
from mien.errors import InputError
from mien.evaluate import metrics


@dataclass(frozen=True)
class Cell:
    """A figure over some pairs: mean, half the width of its 95 % interval (normal approximation; None: not known), count."""

    mean: float
    spread: float | None
    count: int


@dataclass(frozen=True)
class Line:
    """A line of the table: the figure's key, the words for it, how many decimals."""

    figure: str
    words: str
    decimals: int = 2


def cell(values: Iterable[float | None], *, geometric: bool = False) -> Cell | None:
    """Mean, spread and count of what was measured; None where nothing was. geometric: of ratios, 2 and 0.5 come to 1."""
    known = np.array([value for value in values if value is not None], float)
    if not len(known):
        return None
    if geometric:
        known = np.log(np.maximum(known, 1e-9))
    mean = float(known.mean())
    spread = 1.96 * float(known.std(ddof=1)) / len(known) ** 0.5 if len(known) > 1 else None
    if geometric:
        mean, spread = float(np.exp(mean)), spread and float(np.exp(mean) * np.expm1(spread))
    return Cell(mean, spread, len(known))


def means(rows: Iterable[Mapping[str, Any]]) -> dict[str, Cell | None]:
    """Every figure of some rows: "kind/column" is its mean over the rows of that kind that have it; "kind/failed" in %.

    A row is {"kind", "failed": why or None, "figures": {column: value}}. Ratios have geometric means.
    """
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(row["kind"], []).append(row)
    found: dict[str, Cell | None] = {}
    for kind, mine in kinds.items():
        found[f"{kind}/failed"] = cell(100.0 * (row["failed"] is not None) for row in mine)
        for column in dict.fromkeys(column for row in mine for column in row["figures"]):
            geometric = metrics.of_column(column).better == "one"
            found[f"{kind}/{column}"] = cell((row["figures"].get(column) for row in mine), geometric=geometric)
    return found


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
    shown = f"{found.mean:.{line.decimals}f}"
    if spreads and found.spread is not None:
        shown += f" ± {found.spread:.{line.decimals}f}"
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
