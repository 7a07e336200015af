"""Systems of one photo, side by side, on people whom no training has seen: who is recognised, what is kept, what it costs.

    python benchmarks/oneshot.py warp mien_s:weights=FILE [SYSTEM[:NAME=VALUE ...] ...] [--pairs 132] [--sheet DIR]
                                 [--clips [NAME ...]] [--threads 2] [--json FILE]

`oneshot_v1`: twelve held-out people, one photo of each into another photo of every other (`heldout.py`), by `mien.Job`, as a user
gets it, on photos scaled to a stated size; and everybody into their own photo. The judge is dlib's network, centred; the source
is looked for among 100 faces of people that are held out and of people who are sources of nothing, once with the very photo that
was read and once without any such photo. A pair that didn't come off is found by nobody and has no other figure; how many those
are stands in the table. `copy` gives the target back: what it wins says nothing by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mien import analysis, picture, provenance, systems, weights
from mien.errors import MienError, SettingsError
from mien.evaluate import identity
from mien.evaluate.protocols import table
from mien.evaluate.protocols.make import Maker
from mien.types import Manifest

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks")]
import heldout  # noqa: E402
import oneshot_clips  # noqa: E402
from oneshot_pairs import Bench, Entry, parse, sheet  # noqa: E402

Row = dict[str, Any]
Cells = dict[str, table.Cell | None]
SOURCES = 2
"""Sources a clip is swapped with."""
CLIP = ("eat",)
"""The clip that is swapped where none is named: the shortest, a hand before the mouth."""
LINES = (
    ("swap/failed", "swaps that didn't come off, % ↓", 1, ""),
    ("swap/id_gap", "swap gap, cosine ↑", 3, "> 0.2"),
    ("swap/id_source", "like the source, cosine ↑", 3, ""),
    ("swap/id_target", "like the target, cosine ↓", 3, ""),
    ("swap/top1", "found first, % ↑", 1, "> 70"),
    ("swap/top1.other", "found first by another photo, % ↑", 1, ""),
    ("swap/pose", "pose, degrees ↓", 2, "< 3"),
    ("swap/expression", "expression, 0..1 ↓", 3, "< 0.06"),
    ("swap/gaze", "gaze, degrees ↓", 2, ""),
    ("self/failed", "self-swaps that didn't come off, % ↓", 1, ""),
    ("self/psnr", "self-swap: PSNR inside the mesh, dB ↑", 2, ">= 28"),
    ("self/pose", "self-swap: pose, degrees ↓", 2, ""),
    ("clip/flicker", "clips: flicker ratio ↓", 3, "<= 1.25"),
    ("clip/unsmoothed", "clips: flicker ratio without smoothing ↓", 3, ""),
    ("clip/dropouts", "clips: missed frames, % ↓", 1, ""),
    ("clip/fps", "clips: frames/s of the whole job ↑", 1, ">= 25"),
    ("speed/draws", "drawing network, ms a face ↓", 2, "<= 12"),
    ("speed/swaps", "the system's whole answer, ms a face ↓", 2, ""),
)
"""A figure, its words, its decimals, what `mien_s` is to reach."""


def cells(rows: Sequence[Row], timed: Mapping[str, float]) -> Cells:
    """Every figure of a system; see LINES."""
    found = table.means(row for row in rows if row["kind"] != "clip")
    whole = [row["figures"] for row in rows if row["kind"] == "clip"]
    names = dict.fromkeys(name for figures in whole for name in figures)
    found |= {f"clip/{name}": table.cell(figures.get(name) for figures in whole) for name in names}
    return found | {f"speed/{name}": table.Cell(value, None, 1) for name, value in timed.items()}


def markdown(shown: Mapping[str, Cells], asked: Mapping[str, int]) -> str:
    """A figure a line, a system a column: the mean, and in brackets of how many if it is not all that were asked for.

    What can't be had is a dash.
    """
    lines = [f"| | goal | n | {' | '.join(shown)} |", f"|---|--:|--:|{'--:|' * len(shown)}"]
    for name, words, decimals, goal in LINES:
        many, line = asked[name.split("/")[0]], []
        for found in shown.values():
            one = found.get(name)
            text = "–" if one is None else f"{one.mean:.{decimals}f}"
            line.append(text if one is None or one.count == many else f"{text} ({one.count})")
        lines.append(f"| {words} | {goal} | {many} | {' | '.join(line)} |")
    return "\n".join(lines)


def notes(entry: Entry, rows: Sequence[Row]) -> list[str]:
    """In words: the files a system has read, and what didn't come off, and why."""
    named = [name for name in systems.files(entry.system) if entry.options.get(name)]
    lines = [
        f"{name} {entry.options[name]}, sha256 {provenance.sha256(Path(entry.options[name]))[:12]}" for name in named
    ]
    for (kind, why), many in Counter((row["kind"], row["failed"]) for row in rows if row["failed"]).most_common():
        lines.append(f"{kind}: {many} of {sum(row['kind'] == kind for row in rows)}: {why}")
    return lines


@dataclass(frozen=True)
class Measuring:
    """One run over the held-out people. clips: those to swap; threads: of the timings, 0 for none; face: height of the faces."""

    bench: Bench
    held: heldout.Set
    clips: tuple[Path, ...]
    threads: int
    face: int

    @property
    def sources(self) -> list[Path]:
        """Whose photos clips are swapped with."""
        london = [views[0].file for views in self.held.own if views[0].person.startswith("london")]
        return [self.held.folder / file for file in london[:SOURCES]]

    def asked(self) -> dict[str, int]:
        """How many of each kind are measured."""
        pairs = {kind: len(self.bench.protocol.of(kind)) for kind in ("swap", "self")}
        return pairs | {"clip": len(self.clips) * len(self.sources), "speed": int(self.threads > 0)}

    def system(self, entry: Entry, folder: Path) -> tuple[list[Row], Cells, list[str]]:
        """Everything of one system: its rows, its figures, what is to be said of them. folder: for its swaps."""
        rows = self.bench.rows(entry, folder)
        for target in self.clips:
            for source in self.sources:
                found, failed = oneshot_clips.swap(entry.job, target, source, folder)
                told = {"kind": "clip", "source": source.stem, "target": target.stem, "failed": failed}
                rows.append(told | {"figures": found})
                print(f"{entry.label}: {target.stem} as {source.stem}", file=sys.stderr, flush=True)
        said = notes(entry, rows)
        timed: oneshot_clips.Figures = {}
        if self.threads:
            seen = self.bench.maker.see(self.held.own[-1][1])
            assert seen.face is not None, "the photo was scaled by its face"
            try:
                timed, words = oneshot_clips.speed(entry.system, entry.options, seen.pixels, seen.face, self.threads)
            except MienError as error:
                words = f"not timed: {error}"
            said.append(words)
        return rows, cells(rows, timed), said

    def describe(self) -> str:
        """What the figures are of."""
        held, protocol = self.held.own, self.bench.protocol
        seen = [self.bench.maker.see(view).face for views in held for view in views[:2]]
        high = [face.box[3] - face.box[1] for face in seen if face is not None]
        names, whole = ", ".join(views[0].person for views in held), len(held) * (len(held) - 1)
        judge = f"Judge: {protocol.judges[0]}, centred"
        if self.bench.judge is None:
            judge = f"The judge {protocol.judges[0]} is not here: gap, likeness and who is found first are not known"
        return (
            f"{protocol.label}: {len(held)} held-out people ({names}), one photo of each into another photo of every other, "
            f"{len(protocol.of('swap'))} of {whole} pairs, on photos made smaller until the face is {self.face} px high "
            f"(here {min(high):.0f} to {max(high):.0f}). {judge}. Found first: of {heldout.named(protocol.gallery)}, the "
            f"held-out people's {sum(map(len, held))} photos first, then those of London's people who are sources of nothing; by "
            f"another photo: of {heldout.named(self.bench.other)}, none of them read as a source. Clips: "
            f"{', '.join(clip.stem for clip in self.clips) or 'none was asked for (--clips)'}; without smoothing: meshes and "
            "colours as found in each frame, which no setting gives. Timings: "
            f"{f'batches of {oneshot_clips.BATCH}' if self.threads else 'none was asked for (--threads)'}."
        )


def main(a: argparse.Namespace) -> None:
    """Measure every system; print the table."""
    entries = [parse(text) for text in a.systems]
    if len({entry.label for entry in entries}) < len(entries):
        raise SettingsError("two systems would be shown by one name: give their files different names")
    known = heldout.clips(a.shared / "data")
    chosen = tuple(clip for clip in known if a.clips is not None and clip.stem in (a.clips or CLIP))
    if len(chosen) < len(a.clips or ()):
        raise SettingsError(f"--clips are some of {', '.join(clip.stem for clip in known)}: nobody else is held out")
    finder = analysis.Settings().finder()
    judges = identity.judges((a.judge,), mirror=weights.mirror_from_environment())
    shown: dict[str, Cells] = {}
    kept: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mien-oneshot-") as scratch:
        photos, home = Path(scratch, "photos"), Path(scratch, "home")
        for folder in (photos, home):
            folder.mkdir()
        held = heldout.prepare(a.shared, photos, finder, a.face)
        judge, other = judges[0] if judges else None, held.gallery(sources=False)
        bench = Bench(held.protocol(a.pairs, a.judge), Maker(photos, finder), judge, other, home)
        measuring = Measuring(bench, held, chosen, a.threads, a.face)
        for entry in entries:
            mine = Path(scratch, f"{len(shown)}")
            mine.mkdir()
            rows, shown[entry.label], said = measuring.system(entry, mine)
            figures = {name: asdict(one) for name, one in shown[entry.label].items() if one is not None}
            kept[entry.label] = {"figures": figures, "notes": said, "rows": rows}
            if a.json is not None:
                whole = {"protocol": bench.protocol.label, "about": measuring.describe(), "systems": kept}
                provenance.write_bytes(a.json, json.dumps(whole, indent=1).encode())
            if a.sheet is not None:
                a.sheet.mkdir(parents=True, exist_ok=True)
                page = picture.Picture(sheet(bench, entry, held.own, mine))
                picture.save(a.sheet / f"{entry.label.replace(' ', '-')}.png", page, Manifest("contact sheet"))
        print(f"{markdown(shown, measuring.asked())}\n\n{measuring.describe()}\n")
    for label, found in kept.items():
        for line in found["notes"]:
            print(f"- {label}: {line}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="+", metavar="SYSTEM[:NAME=VALUE ...]")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="folder with data/")
    parser.add_argument("--pairs", type=int, default=132, help="how many pairs at most")
    parser.add_argument("--face", type=int, default=200, help="height of the faces, px, at most")
    parser.add_argument("--judge", default="dlib", help="who says whose face it is")
    parser.add_argument("--sheet", type=Path, metavar="DIR", help="write a contact sheet a system there")
    parser.add_argument("--clips", nargs="*", help="swap whole clips, too: their names; without any the shortest")
    parser.add_argument("--threads", type=int, default=2, help="of the timings; 0: nothing is timed")
    parser.add_argument("--json", type=Path, help="write every figure of every pair there")
    try:
        main(parser.parse_args())
    except MienError as error:
        sys.exit(f"oneshot: {error}")
