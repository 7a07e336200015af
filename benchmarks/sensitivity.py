"""Does a worse input always score worse? Real swaps, spoilt twice in the same way, more and less; what do the metrics say?

    python benchmarks/sensitivity.py --data ../shared/data [--pairs 200] [--seed 0] [--system warp] [--out out/sensitivity]

A pair is a swapped face or clip of open_v1, a way to spoil it, a seed, and two strengths at least 0.3 of the way from nothing to
hopeless apart. It is right when every metric that claims to see that kind puts the stronger one behind. The kinds take turns;
everything else is drawn. What a spoilt face is compared with is the unspoilt swap, which is its truth; identity and what is seen
in time are compared with the real source and target. Prints kind x metric, and the share of all pairs.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import spoil
import spoilers
from mien import analysis, picture, systems, video, weights
from mien.errors import MienError
from mien.evaluate import attributes, identity, perceptual, protocols, seam, temporal
from mien.evaluate.identity import Judge
from mien.evaluate.pairs import FacePair, crop_matrix, face_mask
from mien.evaluate.protocols.make import Maker
from mien.evaluate.protocols.measure import crops, likeness, looks
from mien.evaluate.scored import badness
from mien.faces import align
from mien.jobs import Job
from mien.types import Array, Face

LIKENESS = ("psnr", "ssim", "ms_ssim", "perceptual")
CLAIMS: dict[str, tuple[str, ...]] = {
    "blur": ("sharpness", *LIKENESS),
    "noise": ("grain", *LIKENESS),
    "jpeg": LIKENESS,
    "colour": ("colour_gap", "psnr"),
    "step": ("seam", "psnr"),
    "soft_step": ("seam", "psnr"),
    "seam": ("seam", "psnr"),
    "blur_step": ("seam", "sharpness", *LIKENESS),
    "shifted_paste": ("seam", "placement", "psnr", "ssim"),
    "ghost": LIKENESS,
    "shift": ("placement", "psnr", "ssim"),
    "scale": ("placement", "psnr"),
    "rotation": ("pose", "placement", "psnr"),
    "light": ("light_gap", "psnr"),
    "smile": ("expression", "shape"),
    "turn": ("pose",),
    "gaze": ("gaze",),
    "blink": ("eyes",),
    "mouth": ("mouth",),
    "fade": ("id_source", "id_gap", "id_target"),
    "flicker": ("flicker",),
    "tremble": ("flicker", "tof", "jitter"),
    "left": ("dropouts",),
}
"""Which metrics claim to see which kind. `perceptual` and the identities stand for every network and judge that is here."""
NOTED = "seam.target"
"""The seam beside the real target instead of the truth: shown in brackets and not counted, because a random step may undo an edge
that the swap has already, and a blur may hide one."""
IN_TIME = ("flicker", "tremble", "left")
EDGES = ("step", "soft_step", "seam", "blur_step", "shifted_paste")
"""Kinds that spoil along the edge of what the swap changed; the others spoil the face."""
PAD = 64
"""Pixels put round a crop before a face is looked for in it."""
FRAMES = 16


@dataclass(frozen=True)
class Case:
    """A swapped face: the pair, the mesh found anew (crop pixels), the source's vectors by judge."""

    pair: FacePair
    points: Array
    smiling: bool
    source: Mapping[str, Array]


@dataclass(frozen=True)
class Reel:
    """Some frames of a swapped clip, all cut by one matrix: both clips' crops and the target's meshes and masks."""

    target: Sequence[Array]
    swapped: Sequence[Array]
    meshes: Array
    masks: Sequence[Array]


class Bench:
    """What measures a spoilt face."""

    def __init__(self, judges: Sequence[Judge], networks: Sequence[perceptual.Perceptual]) -> None:
        self.finder = analysis.Settings().finder()
        self.judges, self.networks = judges, networks

    def still(self, case: Case, spoilt: Array, judged: bool) -> dict[str, float]:
        """Every figure of a spoilt face, the judges' where asked for; nothing of the mesh where no face is found any more."""
        pair, truth = case.pair, case.pair.swapped
        mask = face_mask(case.points)
        as_truth = FacePair(0, "", truth, spoilt, pair.to_frame, case.points, None, mask, None)
        found = looks(as_truth) | likeness(spoilt, truth, mask, self.networks)
        found["seam"] = seam.seam(spoilt, truth, seam.changed(truth, pair.target))  # along the edge of the swap
        found["seam.target"] = seam.seam(spoilt, pair.target, seam.changed(spoilt, pair.target))
        anew = self.find(spoilt)
        if anew is None:
            return found
        found |= asdict(attributes.compare(anew, case.points))
        for judge in self.judges if judged else ():
            who = judge.embed(spoilt, anew[None])[0]
            target = judge.embed(pair.target, pair.target_points[None])[0]
            found[f"id_source.{judge.name}"] = float(identity.cosine(who, case.source[judge.name]))
            found[f"id_target.{judge.name}"] = float(identity.cosine(who, target))
            found[f"id_gap.{judge.name}"] = float(identity.swap_gap(who, case.source[judge.name], target))
        return found

    def find(self, crop: Array) -> Array | None:
        """The mesh of a crop's face, in its pixels."""
        padded = cv2.copyMakeBorder(crop, PAD, PAD, PAD, PAD, cv2.BORDER_REPLICATE)
        found = self.finder.find(picture.Picture(padded))
        return found[0].points - np.array([PAD, PAD, 0], np.float32) if found else None

    def moving(self, reel: Reel, spoilt: Sequence[Array]) -> dict[str, float]:
        """Every figure of a spoilt clip."""
        steps = [
            temporal.Pair(
                (reel.target[i - 1], reel.target[i]), (spoilt[i - 1], spoilt[i]), (reel.masks[i - 1], reel.masks[i])
            )
            for i in range(1, len(spoilt))
        ]
        flicker = temporal.flicker(steps)
        meshes = [self.find(rgb) for rgb in spoilt]
        anew = np.array([np.full((478, 3), np.nan) if mesh is None else mesh for mesh in meshes])
        changes = [temporal.change(*both) for both in zip(reel.target, spoilt, reel.masks, strict=True)]
        dropped = temporal.dropouts([True] * len(spoilt), [mesh is not None for mesh in meshes], changes)
        return {
            "flicker": flicker.swapped - flicker.original,
            "tof": flicker.tof,
            "jitter": temporal.jitter(anew, reel.meshes).apart,
            "dropouts": 100 * dropped.share,
        }


def cases(data: Path, system: str, count: int, rng: np.random.Generator, bench: Bench) -> list[Case]:
    """Swaps of open_v1 by a system, each with its face found anew."""
    protocol = protocols.load("open_v1", data)
    maker, swap = Maker(data, bench.finder), systems.load(system)
    wanted = [pair for pair in protocol.of("swap") if pair.target.file.startswith(("london/", "asl/"))]
    found = []
    for i in rng.permutation(len(wanted)):
        made = maker.make(wanted[i], swap)
        points = None if made.failed else bench.find(crops(made).swapped)
        if points is None or made.source.face is None:
            continue
        mesh = made.source.face.points[None]
        source = {judge.name: judge.embed(made.source.pixels.array, mesh)[0] for judge in bench.judges}
        found.append(Case(crops(made), points, "smiling" in wanted[i].target.file, source))
        if len(found) == count:
            break
    return found


def reels(data: Path, system: str, folder: Path) -> list[Reel]:
    """The first frames of open_v1's clips, swapped by a system and kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for pair in protocols.load("open_v1", data).clips:
        target, out = data / pair.target.file, folder / f"{system}-{Path(pair.target.file).stem}.mkv"
        if not out.exists():
            Job(target=target, out=out, source=(data / pair.source.file,), system=system).run()
        record = analysis.run(target, folder / f"{target.stem}.parquet")
        rows = record.rows(record.tracks[0], 0, FRAMES)
        matrix = crop_matrix(align.anchor(rows.points[len(rows.points) // 2]))
        both = [
            [
                cv2.warpAffine(f.pixels.rgb(), matrix, (256, 256))
                for f in video.read(path, 0, FRAMES)
                if f.index in rows.frame
            ]
            for path in (target, out)
        ]
        moved = [points[:, :2] @ matrix[:, :2].T + matrix[:, 2] for points in rows.points]
        depth = rows.points[..., 2:] * np.sqrt(abs(np.linalg.det(matrix[:, :2])))
        meshes = np.concatenate([np.array(moved), depth], axis=-1).astype(np.float32)
        found.append(Reel(both[0], both[1], meshes, [face_mask(mesh) for mesh in meshes]))
    return found


def smiles(data: Path, finder: analysis.Finder) -> list[Array]:
    """What the smiles of some of London do to their meshes."""
    found: list[tuple[Face, Face]] = []
    for neutral in sorted((data / "london").glob("*_neutral.jpg"))[::4]:
        smiling = neutral.with_name(neutral.name.replace("neutral", "smiling"))
        both = [finder.find(picture.load(path))[0] for path in (neutral, smiling) if path.exists()]
        if len(both) == 2:
            found.append((both[0], both[1]))
    return spoilers.changes([(a.points, b.points) for a, b in found])


def spoilt(kind: str, case: Case, changes: Sequence[Array], strength: float, seed: int) -> Array:
    """A swapped face spoilt in one way."""
    rgb, pair = case.pair.swapped, case.pair
    if kind in spoil.SPOILERS:
        mask = seam.changed(rgb, pair.target) if kind in EDGES else face_mask(case.points)
        return spoil.SPOILERS[kind](rgb, mask, strength, seed)
    if kind == "fade":
        return cv2.addWeighted(pair.target, strength, rgb, 1 - strength, 0)
    if kind == "smile":
        change = changes[seed % len(changes)] * (-1 if case.smiling else 1)
        return spoilers.smile(change, rgb, case.points, strength, seed)
    bend: Callable[[Array, Array, float, int], Array] = getattr(spoilers, kind)
    return bend(rgb, case.points, strength, seed)


def spoilt_reel(kind: str, reel: Reel, strength: float, seed: int) -> list[Array]:
    """A swapped clip spoilt in one way."""
    if kind == "left":
        missed = np.random.default_rng(seed).permutation(len(reel.swapped))[: round(0.5 * strength * len(reel.swapped))]
        return [reel.target[i] if i in missed else rgb for i, rgb in enumerate(reel.swapped)]
    bend: Callable[..., list[Array]] = getattr(spoilers, kind)
    return bend(reel.swapped, reel.masks, strength, seed)


def main(a: argparse.Namespace) -> None:
    """Draw, spoil, measure, count."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(a.seed)
    mirror = weights.mirror_from_environment()
    bench = Bench(identity.judges(mirror=mirror), [perceptual.load()])
    stills, clips = cases(a.data, a.system, 24, rng, bench), reels(a.data, a.system, a.out)
    changes = smiles(a.data, bench.finder)
    right: dict[tuple[str, str], list[bool]] = defaultdict(list)
    whole: list[bool] = []
    for number in range(a.pairs):
        kind = list(CLAIMS)[number % len(CLAIMS)]
        low = rng.uniform(0.1, 0.4)
        high, seed = low + rng.uniform(0.3, 0.6), int(rng.integers(2**31))
        if kind in IN_TIME:
            reel = clips[rng.integers(len(clips))]
            figures = [bench.moving(reel, spoilt_reel(kind, reel, strength, seed)) for strength in (low, high)]
        else:
            case = stills[rng.integers(len(stills))]
            figures = [
                bench.still(case, spoilt(kind, case, changes, strength, seed), kind == "fade")
                for strength in (low, high)
            ]
        judged = {column: worse(column, *(found.get(column) for found in figures)) for column in figures[0]}
        seen = {column: verdict for column, verdict in judged.items() if column.split(".")[0] in CLAIMS[kind]}
        verdicts = {column: verdict for column, verdict in seen.items() if column != NOTED}
        if NOTED in seen:
            right[kind, f"({NOTED})"].append(seen[NOTED])
        for column, verdict in verdicts.items():
            right[kind, column].append(verdict)
            if not verdict:
                values = " -> ".join(f"{found.get(column, np.nan):.4g}" for found in figures)
                print(f"pair {number}: {kind} {low:.2f} -> {high:.2f}, {column} {values}", flush=True)
        whole.append(bool(verdicts) and all(verdicts.values()))
    print(report(right))
    single = [verdict for (_, column), verdicts in right.items() if column[0] != "(" for verdict in verdicts]
    print(f"\n{sum(whole)} of {len(whole)} pairs right in every metric: {100 * np.mean(whole):.1f} %")
    print(f"{sum(single)} of {len(single)} single verdicts right: {100 * np.mean(single):.1f} %")


def worse(column: str, weak: float | None, strong: float | None) -> bool:
    """Whether the stronger spoiling scores worse. A face too spoilt to be found is worse than one that is found."""
    if weak is None or strong is None:
        return weak is not None
    if np.isnan(weak) or np.isnan(strong):
        return False
    if column.startswith(("perceptual", "change", "euler")):  # of swaps neither way is better; here the truth is known
        return strong > weak
    return bool(np.diff(badness(column, np.array([weak, strong])))[0] > 0)


def report(right: Mapping[tuple[str, str], Sequence[bool]]) -> str:
    """A table: a kind a line, the metrics that claim to see it, right of all."""
    lines = ["| spoilt by | right of all, by every metric that claims to see it |", "|---|---|"]
    for kind in dict.fromkeys(kind for kind, _ in right):
        cells = [f"{column} {sum(c)}/{len(c)}" for (which, column), c in right.items() if which == kind]
        lines.append(f"| {kind} | {', '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--system", default="warp")
    parser.add_argument("--out", type=Path, default=Path("out/sensitivity"), help="the swapped clips are kept here")
    try:
        main(parser.parse_args())
    except MienError as error:
        sys.exit(f"sensitivity: {error}")
