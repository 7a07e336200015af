"""People whom no training of ours has seen, as photos of one size and as the protocol `oneshot_v1`.

Who is held out is written in `recipes/oneshot_photos.py`: ten people of the London set, one signer, lisa. Everybody has a photo
that is read when they are a source and another one that is drawn into when they are a target.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from mien import image, picture, provenance, video
from mien.errors import InputError
from mien.evaluate.protocols import Pair, Protocol, View
from mien.evaluate.protocols.make import Finder

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "recipes")]
import oneshot_photos  # noqa: E402

SEED = 20261121
GALLERY = 100
"""Faces among which a source is looked for."""


@dataclass(frozen=True)
class Shot:
    """A photo, or a frame of a clip."""

    file: Path
    frame: int | None = None


@dataclass(frozen=True)
class Person:
    """source: the one photo that is read of them; target: another, that others are drawn into; more: for the gallery only."""

    name: str
    source: Shot
    target: Shot
    more: tuple[Shot, ...] = ()


@dataclass(frozen=True)
class Set:
    """Photos in a folder. own: a person's source, target and more, in that order, of everybody who is swapped; fill: one
    photo after another of people who are sources of nothing."""

    folder: Path
    own: tuple[tuple[View, ...], ...]
    fill: tuple[View, ...]

    def gallery(self, *, sources: bool) -> tuple[View, ...]:
        """GALLERY pictures, fewer where there are no more: those of the people who are swapped, then `fill`. sources: with the
        very photos that sources are read from."""
        mine = [view for views in self.own for view in (views if sources else views[1:])]
        return (*mine, *self.fill)[:GALLERY]

    def protocol(self, most: int, judge: str) -> Protocol:
        """`most` swaps, and everybody's target into itself. Whoever comes first, sources and targets take turns."""
        ring = sorted(self.own, key=lambda views: hashlib.sha256(f"{SEED}/{views[0].person}".encode()).digest())
        swaps = [
            Pair("swap", ring[i][0], ring[(i + turn) % len(ring)][1])
            for turn in range(1, len(ring))
            for i in range(len(ring))
        ]
        alone = [Pair("self", views[1], views[1]) for views in ring]
        gallery = self.gallery(sources=True)
        files = sorted({view.file for view in (*gallery, *self.gallery(sources=False))})
        return Protocol(
            "oneshot_v1", SEED, (judge,), (*swaps[:most], *alone[:most]), gallery,
            files={file: provenance.sha256(self.folder / file) for file in files},
        )  # fmt: skip


def prepare(shared: Path, folder: Path, finder: Finder, high: int) -> Set:
    """The photos of everybody who is held out, and of the rest of London, into `folder`; see `scaled`.

    Raises InputError where the data is missing.
    """
    data = shared / "data"
    if not (data / "london").is_dir():
        raise InputError(f"{data} lacks the held-out people: give the folder that holds data/ with --shared")

    def views(shots: Iterable[tuple[str, Shot]]) -> tuple[View, ...]:
        return tuple(View(scaled(shot, folder, finder, high).name, name) for name, shot in shots)

    held = people(data)
    own = tuple(views((one.name, shot) for shot in (one.source, one.target, *one.more)) for one in held)
    return Set(folder, own, views(others(data, GALLERY)))


def people(data: Path) -> list[Person]:
    """Everybody who is held out."""
    found = []
    for key in sorted(oneshot_photos.HELD_OUT):
        where, _, who = key.partition(" ")
        if where == "london":
            neutral, smiling = (Shot(data / where / f"{who}_{face}.jpg") for face in ("neutral", "smiling"))
            found.append(Person(key, neutral, smiling))
        elif where == "asl":  # a smile in the first of the clips, a face at rest in the others
            target, source, *rest = (Shot(data / where / f"{clip}.mkv", 3) for clip in oneshot_photos.SIGNERS[who])
            found.append(Person(key, source, target, tuple(rest)))
        else:
            names = ("zoom_60cm", "lisa3", "lisa1", "lisa2", "lisa4", "zoom_15cm", "zoom_30cm", "zoom_45cm")
            source, target, *rest = (Shot(data / "ci-set" / f"{key}_{name}.jpg") for name in names)
            found.append(Person(key, source, target, tuple(rest)))
    return found


def others(data: Path, most: int) -> list[tuple[str, Shot]]:
    """(name, photo) of London's other people, neutral faces first, then smiling ones, `most` in all."""
    files = sorted((data / "london").glob("*.jpg"), key=lambda path: path.stem.split("_")[::-1])
    named = [(f"london {path.stem[:3]}", Shot(path)) for path in files]
    return [(name, shot) for name, shot in named if name not in oneshot_photos.HELD_OUT][:most]


def clips(data: Path) -> list[Path]:
    """The clips of the signers who are held out."""
    keys = [key.split() for key in sorted(oneshot_photos.HELD_OUT) if key.startswith("asl ")]
    return [data / "asl" / f"{clip}.mkv" for _, who in keys for clip in oneshot_photos.SIGNERS[who]]


def scaled(shot: Shot, folder: Path, finder: Finder, high: int) -> Path:
    """The photo as PNG in `folder`, made smaller until its largest face is `high` pixels from forehead to chin.

    A smaller face stays as it is. Raises InputError where no face is found.
    """
    if shot.frame is None:
        rgb = picture.load(shot.file).rgb()
    else:
        rgb = next(video.read(shot.file, shot.frame, shot.frame + 1)).pixels.rgb()
    found = finder.find(picture.Picture(rgb))
    if not found:
        raise InputError(f"no face is found in {shot.file}: is the file whole?")
    share = min(1.0, high / (found[0].box[3] - found[0].box[1]))
    size = round(rgb.shape[1] * share), round(rgb.shape[0] * share)
    path = folder / f"{shot.file.stem}{'' if shot.frame is None else f'-{shot.frame}'}.png"
    cv2.imwrite(str(path), cv2.cvtColor(image.resize(rgb, size), cv2.COLOR_RGB2BGR))
    return path


def named(views: Sequence[View]) -> str:
    """How many pictures of how many people, in words."""
    return f"{len(views)} faces of {len({view.person for view in views})} people"
