"""The protocols by name: which pairs, drawn how, from what.

What is drawn is drawn by SHA-256 of seed and name, so that the same data gives the same pairs with every version of every
library. Who is who is known from the file names, or from a file (`people`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from mien import picture, provenance, video
from mien.errors import InputError
from mien.evaluate.protocols.protocol import Pair, Protocol, View
from mien.video.info import VIDEO_SUFFIXES

JUDGES = ("dlib", "mobilefacenet", "mien")
"""The independent one first: no loss of ours has seen it, nor its pictures."""
SEED = 20261121
SIGNERS = {
    "yellow": ("book", "learn", "school"),
    "hoodie": ("again", "brother", "help"),
    "grey": ("bird", "milk", "please", "sorry"),
    "black": ("eat", "night", "sister"),
}
"""Who signs in which clip of the sign-language set."""


def open_v1(data: Path) -> Protocol:
    """100 swaps, 50 self-swaps, 50 by another photo, 4 clips, from the folders london/, asl/ and ci-set/ below `data`.

    Sources are London's neutral photos. Targets: 53 of London's smiling photos, 8 of lisa, 3 frames of each of the 13
    sign-language clips. Gallery: all of London, and every target, so that a copied target is found as what it is.
    """
    london = _pictures(data / "london", data)
    lisa = [View(file, "lisa") for file in _pictures(data / "ci-set", data) if file.split("/")[-1].startswith("lisa")]
    clips = _clips(data / "asl", data)
    if not (london and lisa and clips):
        raise InputError(
            f"{data} lacks pictures for open_v1: give a folder that holds london/, asl/ and ci-set/ (--data)"
        )
    signers = {stem: f"signer-{who}" for who, stems in SIGNERS.items() for stem in stems}
    people = {Path(file).stem: signers.get(Path(file).stem, f"signer-{Path(file).stem}") for file in clips}
    photos = [View(file, "london-" + Path(file).stem.split("_")[0]) for file in london]
    neutral = _shuffled([view for view in photos if "neutral" in view.file], "neutral")
    smiling = _shuffled([view for view in photos if "smiling" in view.file], "smiling")
    signed = [view for file in clips for view in _frames(data, file, people[Path(file).stem], 3)]
    pairs = _swaps(neutral, [*smiling[:53], *lisa, *signed])
    pairs += [Pair("self", view, view) for view in _shuffled(photos, "self")[:50]]
    by_person = {view.person: view for view in neutral}
    others = [view for view in _shuffled(smiling, "again") if view.person in by_person]
    pairs += [Pair("again", by_person[view.person], view) for view in others[:50]]
    whole = [View(file, people[Path(file).stem]) for file in _one_each(clips, people)]
    return _protocol("open_v1", data, pairs, [*photos, *lisa, *signed], clips=_swaps(neutral[::-1], whole), frames=3)


def ffpp_v1(data: Path, people: Path | None = None) -> Protocol:
    """After FaceForensics++ as used since FaceShifter (Li et al. 2020): 10 frames a clip, retrieval over all originals.

    Clips whose names are TTT_SSS, both halves being names of other clips below `data`, are swaps that somebody made, the
    target first; all others are originals. Where there are none, a file `pairs.json` ([[target, source], ...]) says what
    to swap, or every clip gets the face of one other. The source is shown by its middle frame.
    people: see `_people`; FF++ repeats people, and who isn't merged is missed by retrieval.
    """
    clips = _by_stem(_clips(data, data))
    told = _people(people)
    known = {stem: told.get(stem, stem) for stem in clips}
    made = {stem: _halves(stem, clips) for stem in clips}
    originals = [stem for stem, halves in made.items() if halves is None]
    swapped = {halves: clips[stem] for stem, halves in made.items() if halves is not None}
    wanted = list(swapped) or _listed_pairs(data, originals) or _partners(originals, known)
    frames = {stem: _frames(data, clips[stem], known[stem], 10) for stem in originals}
    pairs = []
    for target, source in wanted:
        if known[target] == known[source]:
            continue  # one person under two names
        given = swapped.get((target, source))
        for view in frames[target]:
            shown = None if given is None else View(given, known[source], view.frame)
            pairs.append(Pair("swap", frames[source][5], view, shown))
    gallery = [view for views in frames.values() for view in views]
    return _protocol("ffpp_v1", data, pairs, gallery, frames=10)


def pairs_v1(data: Path, people: Path | None = None) -> Protocol:
    """1,000 random pairs and 1,000 self-swaps over a folder of face pictures, as with CelebA-HQ and FFHQ (Chen et al. 2020).

    No pair comes twice: a smaller folder gives fewer, and `Protocol.wanted` says so. people: see `_people`; without it
    every picture is taken for a person of its own. The gallery is every picture that a pair names.
    """
    told = _people(people)
    views = [View(file, told.get(file, told.get(Path(file).name, file))) for file in _pictures(data, data)]
    ring = _shuffled(views, "ring")
    turns = sorted(range(1, len(ring)), key=lambda k: _drawn(f"turn {k}"))  # each turn of the ring pairs everybody anew
    turned = ((ring[i], ring[(i + k) % len(ring)]) for k in turns for i in range(len(ring)))
    drawn = (Pair("swap", source, target) for source, target in turned if source.person != target.person)
    pairs = list(islice(drawn, 1000))
    pairs += [Pair("self", view, view) for view in _shuffled(views, "self")[:1000]]
    gallery = sorted({view for pair in pairs for view in (pair.source, pair.target)}, key=str)
    return _protocol("pairs_v1", data, pairs, gallery, wanted={"swap": 1000, "self": 1000})


def gate_v1(data: Path) -> Protocol:
    """A small fixed set that comes with the package, to notice when a system gets worse.

    `data` holds bank/ (the composite faces), photo.png (scikit-image's astronaut) and clip.mp4 (a camera moving over it).
    """
    bank = [View(file, "composite-" + Path(file).stem) for file in _pictures(data / "bank", data)]
    if len(bank) < 8 or not (data / "photo.png").is_file() or not (data / "clip.mp4").is_file():
        raise InputError(f"{data} lacks the set of gate_v1: bank/, photo.png and clip.mp4")
    photo, clip = View("photo.png", "astronaut"), View("clip.mp4", "astronaut")
    sources, targets = _shuffled(bank, "source"), _shuffled(bank, "target")
    pairs = _swaps(sources[:5], [*targets[:4], photo])
    pairs += [Pair("self", view, view) for view in (targets[5], photo)]
    return _protocol("gate_v1", data, pairs, [*bank, photo], clips=(Pair("swap", sources[7], clip),), judges=("mien",))


def _swaps(sources: Sequence[View], targets: Sequence[View]) -> list[Pair]:
    """Each target gets whoever has waited longest and is somebody else; nothing where there is nobody else."""
    pairs, waiting = [], list(sources)
    for target in targets:
        source = next((view for view in waiting if view.person != target.person), None)
        if source is not None:
            waiting.remove(source)
            waiting.append(source)
            pairs.append(Pair("swap", source, target))
    return list(dict.fromkeys(pairs))


def _protocol(
    name: str, data: Path, pairs: Sequence[Pair], gallery: Sequence[View], *, clips: Sequence[Pair] = (),
    frames: int = 1, wanted: Mapping[str, int] | None = None, judges: tuple[str, ...] = JUDGES,
) -> Protocol:  # fmt: skip
    """Put it together, with the digests of all that is read. Raises InputError where there is nothing to measure."""
    if not pairs:
        raise InputError(f"{name} finds no pair in {data}: it needs pictures or clips of at least two people")
    views = [view for pair in (*pairs, *clips) for view in (pair.source, pair.target, pair.given) if view is not None]
    files = sorted({view.file for view in (*views, *gallery)})
    digests = {file: provenance.sha256(data / file) for file in files}
    return Protocol(name, SEED, judges, tuple(pairs), tuple(gallery), tuple(clips), frames, dict(wanted or {}), digests)


def _shuffled(views: Iterable[View], salt: str) -> list[View]:
    """In an order that nobody chose and that never changes."""
    return sorted(views, key=lambda view: _drawn(f"{salt}/{view}"))


def _drawn(name: str) -> bytes:
    return hashlib.sha256(f"{SEED}/{name}".encode()).digest()


def _frames(data: Path, file: str, person: str, count: int) -> list[View]:
    """Evenly spaced frames of a clip: the middles of `count` equal parts; fewer where the clip has fewer frames."""
    total = len(video.index(data / file).pts)
    return [View(file, person, k) for k in sorted({(2 * k + 1) * total // (2 * count) for k in range(count)})]


def _pictures(folder: Path, data: Path) -> list[str]:
    return _listed(folder, data, picture.is_picture_name)


def _clips(folder: Path, data: Path) -> list[str]:
    return _listed(folder, data, lambda path: path.suffix.lower() in VIDEO_SUFFIXES)


def _listed(folder: Path, data: Path, wanted: Callable[[Path], bool]) -> list[str]:
    """Files below a folder, as paths below `data`, sorted. Raises InputError where the folder is not there."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the protocol's data with --data")
    return sorted(path.relative_to(data).as_posix() for path in folder.rglob("*") if path.is_file() and wanted(path))


def _one_each(clips: Sequence[str], people: Mapping[str, str]) -> list[str]:
    """One clip of each person: the first by name."""
    first: dict[str, str] = {}
    for file in clips:
        first.setdefault(people[Path(file).stem], file)
    return list(first.values())


def _people(listing: Path | None) -> dict[str, str]:
    """Name -> person, as told by a file: JSON {name: person}, or lines of "name person" as CelebA has them."""
    if listing is None:
        return {}
    try:
        text = listing.read_text(encoding="utf-8")
        told = (
            json.loads(text) if listing.suffix == ".json" else dict(line.split() for line in text.splitlines() if line)
        )
        return {str(name): str(person) for name, person in told.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"{listing} doesn't say who is who: write JSON {{name: person}}, or a line for each"
        ) from error


def _by_stem(clips: Sequence[str]) -> dict[str, str]:
    """Clips by their names without folder and suffix. Raises InputError where two are called alike."""
    twice = sorted(stem for stem, count in Counter(Path(file).stem for file in clips).items() if count > 1)
    if twice:
        raise InputError(f"several clips are called {', '.join(twice[:3])}: give one method's clips at a time")
    return {Path(file).stem: file for file in clips}


def _halves(stem: str, clips: Mapping[str, str]) -> tuple[str, str] | None:
    """(target, source) of a clip that is called TTT_SSS."""
    for cut in (at for at, letter in enumerate(stem) if letter == "_"):
        if stem[:cut] in clips and stem[cut + 1 :] in clips:
            return stem[:cut], stem[cut + 1 :]
    return None


def _listed_pairs(data: Path, originals: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs that `pairs.json` names; none where there is no such file."""
    file = data / "pairs.json"
    if not file.is_file():
        return []
    try:
        pairs = [(str(target), str(source)) for target, source in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file} is no list of [target, source]: mend it or take it away") from error
    missing = sorted({name for pair in pairs for name in pair} - set(originals))
    if missing:
        raise InputError(f"{file} names clips that aren't there: {', '.join(missing[:5])}")
    return pairs


def _partners(originals: Sequence[str], people: Mapping[str, str]) -> list[tuple[str, str]]:
    """Every clip as a target, another person's as its source."""
    views = {stem: View(stem, people[stem]) for stem in originals}
    return [(p.target.file, p.source.file) for p in _swaps(_shuffled(views.values(), "source"), list(views.values()))]
