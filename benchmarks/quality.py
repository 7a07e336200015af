"""Every system over a protocol: who is recognised, what is kept, what is seen of the edge, what flickers.

    python benchmarks/quality.py --protocol open_v1 --data ../shared/data [--systems warp library] [--out out/quality]
                                 [--write README.md] [--sheet sheet.jpg]

Beside the systems stand two rows that calibrate: `copy` gives the target back, `paste` lays the source's photo on it; `given`
measures swaps that somebody else made (ffpp_v1: clips called TTT_SSS). A finished pair is a line of OUT/LABEL/rows-STATE.jsonl:
a killed run goes on where it was, and nothing is measured twice until code, weights or data change. `--write` puts the table
between `<!-- quality -->` and `<!-- /quality -->` of a page. docs/metrics.md says what each number means. The teachers' weights
are taken from MIEN_WEIGHTS; a judge that isn't here is left out and said so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np

from mien import analysis, picture, provenance, systems, weights
from mien.errors import MienError, WeightsError
from mien.evaluate import distribution, metrics, protocols
from mien.evaluate.protocols import Protocol, measure, table
from mien.evaluate.protocols.journal import Journal, state
from mien.evaluate.protocols.make import Maker
from mien.evaluate.protocols.measure import Gauge
from mien.jobs import Job
from mien.types import Manifest

REFERENCES = {"copy": "mien.evaluate.protocols.copy", "paste": "mien.evaluate.protocols.paste"}
SHOWN = ("london/", "ci-set/lisa", "asl/", "bank/")
"""Whose pictures may be shown: people who agreed to it, and faces of nobody."""
TILE = 200
KINDS = {"swap": "", "self": "self-swap: ", "again": "another photo: ", "clip": "clips: "}
PAGE = (
    *("swap/failed", "swap/top1.dlib", "swap/id_source.dlib", "swap/id_gap.dlib", "swap/top1.dlib_bare"),
    *("swap/id_bare.dlib", "swap/pose", "swap/expression", "swap/gaze", "swap/mouth", "swap/seam", "swap/colour_gap"),
    *(
        "swap/sharpness",
        "swap/kid.mien_identity",
        "self/psnr",
        "again/psnr",
        "clip/id_source.mien",
        "clip/flicker_ratio",
    ),
    *("clip/tof", "clip/jitter", "clip/dropouts"),
)
"""What a README shows; everything else is in OUT/LABEL/table.md."""
MEANING = (
    "*copy* gives the target back, *paste* lays the source's photo on it: what they win says nothing by itself. *library* hides "
    "people behind faces of nobody: to be like the source is not its task. "
    "[What each number means, and how it misleads](docs/metrics.md)."
)


def main(a: argparse.Namespace) -> None:
    """Measure what is not measured yet; print the table, and write it where that is asked for."""
    protocol = protocols.load(a.protocol, a.data, a.people)
    folder, now = a.out / protocol.label, state()
    journal = Journal(folder / f"rows-{now}.jsonl")
    provenance.write_bytes(folder / "protocol.json", protocol.to_json().encode())
    print(protocol.describe(), flush=True)
    maker = Maker(a.data, analysis.Settings().finder())
    mirror = weights.mirror_from_environment()
    gauge = Gauge(protocol, maker, mirror=mirror, kept=Journal(folder / f"gallery-{now}.jsonl"))
    for line in gauge.missing:
        print(line, flush=True)
    for name in a.systems:
        start = perf_counter()
        done = pairs(name, protocol, maker, gauge, journal, folder) + clips(
            name, protocol, a.data, gauge, journal, folder
        )
        print(f"{name}: {done} measured in {perf_counter() - start:.0f} s, the rest was there", flush=True)
    report = {name: summary(name, protocol, journal, folder, a.inception) for name in a.systems}
    asked = {kind: len(protocol.of(kind)) for kind in ("swap", "self", "again")} | {"clip": len(protocol.clips)}
    lines = table_lines(report)
    counts = {line.figure: asked[line.figure.split("/")[0]] for line in lines}
    full = table.markdown(report, lines, counts, spreads=True)
    provenance.write_bytes(folder / "table.md", f"{full}\n".encode())
    print(full)
    if a.write is not None:
        short = table.markdown(report, [line for line in lines if line.figure in PAGE], counts, spreads=False)
        table.insert(a.write, "quality", f"{short}\n\n{protocol.describe()}. {MEANING}")
    if a.sheet is not None:
        sheet(a.sheet, a.systems, protocol, folder)


def pairs(name: str, protocol: Protocol, maker: Maker, gauge: Gauge, journal: Journal, folder: Path) -> int:
    """Make and measure the pairs that are not in the journal; keep the crops. Returns how many."""
    system = None if name == "given" else systems.load(REFERENCES.get(name, name))
    crops = folder / "crops" / name
    crops.mkdir(parents=True, exist_ok=True)
    done = 0
    for number, pair in enumerate(protocol.pairs):
        key = f"{name}/{number}"
        if key in journal.rows:
            continue
        start = perf_counter()
        made = maker.make(pair, system)
        seconds = perf_counter() - start
        if made.target.face is not None and made.source.face is not None:
            cut = measure.crops(made)
            sides = {"source": measure.portrait(made.source), "target": cut.target, "swapped": cut.swapped}
            for side, rgb in sides.items():
                picture.save(crops / f"{number:04d}-{side}.png", picture.Picture(rgb), Manifest("benchmark"))
        figures = gauge.figures(made)
        row = {"kind": pair.kind, "source": str(pair.source), "target": str(pair.target), "failed": made.failed}
        journal.add(key, {**row, "seconds": round(seconds, 3), "figures": figures})
        done += 1
    return done


def clips(name: str, protocol: Protocol, data: Path, gauge: Gauge, journal: Journal, folder: Path) -> int:
    """Swap and measure the whole clips that are not in the journal. Returns how many."""
    done = 0
    for number, pair in enumerate(protocol.clips if name != "given" else ()):
        key = f"{name}/clip {number}"
        if key in journal.rows:
            continue
        out = folder / "clips" / f"{name}-{Path(pair.target.file).stem}.mkv"
        out.parent.mkdir(parents=True, exist_ok=True)
        job = Job(
            target=data / pair.target.file, out=out, source=(data / pair.source.file,),
            system=REFERENCES.get(name, name), overwrite=True,
        )  # fmt: skip
        failed, figures = None, {}
        try:
            job.run()
            figures = gauge.clip(data / pair.target.file, out, data / pair.source.file)
        except MienError as error:
            failed = str(error)
        row = {"kind": "clip", "source": str(pair.source), "target": str(pair.target), "failed": failed}
        journal.add(key, {**row, "figures": figures})
        done += 1
    return done


def summary(
    name: str, protocol: Protocol, journal: Journal, folder: Path, inception: Path | None
) -> dict[str, table.Cell | None]:
    """Every figure of one system, by "kind/column"."""
    found = table.means(row for key, row in journal.rows.items() if key.split("/")[0] == name)
    return found | distances(name, protocol, journal, folder, inception)


def distances(
    name: str, protocol: Protocol, journal: Journal, folder: Path, inception: Path | None
) -> dict[str, table.Cell | None]:
    """KID and FID of swapped faces against real ones, by every feature network that is here.

    One half's swaps stand beside the other half's targets, and the other way round, so that no picture is on both sides:
    beside its own target a copied face would come out as more real than real. ± of KID is its deviation over 100 subsets of
    half of a side, as papers print it; FID has none, and on so few faces compares with itself only.
    """
    there = [
        number
        for number, pair in enumerate(protocol.pairs)
        if pair.kind == "swap" and journal.rows[f"{name}/{number}"]["failed"] is None
    ]
    if len(there) < 8:
        return {}
    swapped, real = (
        [picture.load(folder / "crops" / name / f"{number:04d}-{side}.png").rgb() for number in there]
        for side in ("swapped", "target")
    )
    found: dict[str, table.Cell | None] = {}
    for net_name in distribution.NAMES:
        try:
            net = distribution.load(net_name, file=inception, mirror=weights.mirror_from_environment())
        except WeightsError:
            continue
        a, b = (distribution.features(crops, net) for crops in (swapped, real))
        folds = [(a[0::2], b[1::2]), (a[1::2], b[0::2])]
        kids = [distribution.kid(*fold, size=len(there) // 4, seed=protocol.seed) for fold in folds]
        mean, deviation = (float(np.mean([getattr(kid, part) for kid in kids])) for part in ("mean", "deviation"))
        found[f"swap/kid.{net.name}"] = table.Cell(mean, deviation, len(there))
        fid = float(np.mean([distribution.fid(*fold) for fold in folds]))
        found[f"swap/fid.{net.name}"] = table.Cell(fid, None, len(there))
    return found


def table_lines(report: Mapping[str, Mapping[str, table.Cell | None]]) -> list[table.Line]:
    """A line for every figure that some system has: swaps first, then in the order of `metrics.METRICS`."""
    figures = list(dict.fromkeys(figure for found in report.values() for figure in found))
    names = [metric.name for metric in metrics.METRICS]

    def place(figure: str) -> tuple[int, int]:
        kind, column = figure.split("/")
        return list(KINDS).index(kind), -1 if column == "failed" else names.index(metrics.of_column(column).name)

    lines = []
    for figure in sorted(figures, key=place):
        kind, column = figure.split("/")
        if column == "failed":
            lines.append(table.Line(figure, f"{KINDS[kind]}failed, % ↓", 0))
            continue
        metric = metrics.of_column(column)
        better = {"higher": " ↑", "lower": " ↓", "one": " → 1", "none": ""}[metric.better]
        lines.append(
            table.Line(figure, f"{KINDS[kind]}{metrics.title(column)}, {metric.unit}{better}", metric.decimals)
        )
    return lines


def sheet(out: Path, names: Sequence[str], protocol: Protocol, folder: Path, rows: int = 8) -> None:
    """A picture to look at: a row a swap, the source, the target, and what every system made; only who may be shown."""
    shown = [
        number
        for number, pair in enumerate(protocol.pairs)
        if pair.kind == "swap" and all(view.file.startswith(SHOWN) for view in (pair.source, pair.target))
    ]
    head = np.full((32, TILE * (len(names) + 2), 3), 255, np.uint8)
    for column, word in enumerate(("source", "target", *names)):
        cv2.putText(head, word, (TILE * column + 8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    lines = [head]
    for number in shown[:: max(len(shown) // rows, 1)][:rows]:
        files = [folder / "crops" / names[0] / f"{number:04d}-{side}.png" for side in ("source", "target")]
        files += [folder / "crops" / name / f"{number:04d}-swapped.png" for name in names]
        tiles = [picture.load(file).rgb() if file.exists() else np.zeros((TILE, TILE, 3), np.uint8) for file in files]
        lines.append(np.hstack([cv2.resize(tile, (TILE, TILE), interpolation=cv2.INTER_AREA) for tile in tiles]))
    picture.save(out, picture.Picture(np.vstack(lines)), Manifest("contact sheet"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", default="open_v1", help=f"one of {', '.join(protocols.NAMES)}")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--people", type=Path, help="who is who, for ffpp_v1 and pairs_v1: JSON {name: person}, or lines"
    )
    parser.add_argument(
        "--systems", nargs="+", default=[*systems.ready(), *REFERENCES],
        help="default: all that come with the package, and the rows that calibrate",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("out/quality"), help="what is measured is kept here")
    parser.add_argument(
        "--inception", type=Path, help="an ONNX file of Inception-v3, for KID and FID as papers have them"
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table between the page's two marks")
    parser.add_argument("--sheet", type=Path, help="a picture of some swaps, to look at")
    try:
        main(parser.parse_args())
    except MienError as error:
        sys.exit(f"quality: {error}")
