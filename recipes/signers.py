"""Models of the signers of the sign-language clips, by every system that is trained for its people, and their swaps.

    python recipes/signers.py sets                     face sets of all clips but one of each person, in out/signers/sets
    python recipes/signers.py train df [--threads 1]   trains, resumes where it was; leaves a model in out/signers/df
    python recipes/signers.py train df-turned          the same with faces turned into the other person's poses, in df-turned
    python recipes/signers.py swap df                  the clips that were left out, as the other person, or the next one of four

Made for two processor cores and faces of some 66 pixels: small crops, narrow networks, few steps. What came of it stands in
LAB.md; `benchmarks/trained.py` scores the swaps.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mien import runs, train
from mien.faceset import extract, turning
from mien.faceset.store import FaceSet
from mien.jobs import Job
from mien.types import Consent

ROOT = Path(__file__).parents[1]
OUT = ROOT / "out" / "signers"
CLIPS = {
    "yellow": (("learn", "school"), "book"),
    "hoodie": (("brother", "help"), "again"),
    "grey": (("bird", "milk", "please"), "sorry"),
    "black": (("eat", "night"), "sister"),
}
"""Person -> the clips to learn from, and the one left out."""
TURNED = {"yellow": "hoodie", "hoodie": "yellow"}
"""She always looks up, he never does: each is turned into the other's poses, see `faceset.turning`."""
CONSENT = Consent("a signer of the Intel IoT DevKit sample videos", "published by them under CC-BY-4.0")


@dataclass(frozen=True)
class Recipe:
    """Who is learnt, by which settings, for how long."""

    steps: int
    batch: int
    people: tuple[str, ...] = ("yellow", "hoodie")
    options: Mapping[str, Any] = field(default_factory=dict)
    augment: Mapping[str, Any] = field(default_factory=dict)


SMALL = {"size": 96, "latent": 128, "encoder": 48, "decoder": 48, "mask": 16, "lr": 2e-4, "eyes_mouth": True}
UPRIGHT = {"flip": 0.0}
"""The woman's hair falls over one side of her face: mirrored, it would be drawn on both."""
RECIPES = {
    "deepfakes": Recipe(900, 16, options={"lr": 1e-4}, augment=UPRIGHT),
    "df": Recipe(2400, 8, options=SMALL),
    "liae": Recipe(1600, 8, options=SMALL),
    "faceswap_gan": Recipe(
        1400, 8, options={"lr": 2e-4, "swap_decoders": False, "width": 32, "pool": 2, "bare": True}, augment=UPRIGHT
    ),
    "comb": Recipe(1000, 8, tuple(CLIPS), {"size": 128, "base": 24, "lr": 3e-4}, UPRIGHT),
}


def sets(shared: Path) -> None:
    """Extract a face set for each person. The hoodie shows a face of its own: only the first track is somebody."""
    for person, (clips, _) in CLIPS.items():
        place = OUT / "sets" / person
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            found = extract.extract([shared / "asl" / f"{c}.mkv" for c in clips], place, extract.Settings(track="T1"))
            print(f"{person}: {len(found)} faces")
    for person, like in TURNED.items():
        place = OUT / "sets" / f"{person}-turned"
        if not place.exists():
            made = turning.turn(*(FaceSet.open(OUT / "sets" / name) for name in (person, like)), place)
            print(f"{person}: {len(made)} faces turned")


def train_one(system: str, threads: int, minutes: float) -> None:
    """Train one system to the end of its recipe, or for so many minutes."""
    name, _, turned = system.partition("-")
    recipe = RECIPES[name]
    settings = train.Settings(
        steps=recipe.steps, batch=recipe.batch, ema=0.99, clip=1.0, warmup=50, threads=threads, minutes=minutes, log_every=25,
        save_every=100,
    )  # fmt: skip
    people = {
        who: tuple(OUT / "sets" / each for each in (who, f"{who}-turned") if each == who or (turned and who in TURNED))
        for who in recipe.people
    }
    run = runs.Run(name, people, OUT / system, recipe.options, settings, recipe.augment)
    loaded = runs.load(run)
    for line in loaded.prepare():
        print(line, flush=True)
    loaded.start([Printer()])
    print("\n".join(loaded.summary()))


class Printer:
    """A line a row of the log."""

    def logged(self, step: int, row: Mapping[str, float]) -> None:
        """See `train.Watch`."""
        told = {name.split("/")[-1]: round(value, 4) for name, value in row.items() if name != "step"}
        print(step, told, flush=True)

    def saved(self, step: int, net: object) -> None:
        """Nothing to do."""

    def note(self, text: str) -> None:
        """See `train.Watch`."""
        print(text, flush=True)


def swap(system: str, shared: Path) -> None:
    """Each clip that was left out, as the next person of the model."""
    name = system.partition("-")[0]
    people = RECIPES[name].people if name in RECIPES else ("yellow", "hoodie")
    for target, source in zip(people, people[1:] + people[:1], strict=True):
        out = OUT / "swaps" / system / f"{source}_in_{CLIPS[target][1]}.mp4"
        if out.exists():
            continue
        out.parent.mkdir(parents=True, exist_ok=True)
        clip = shared / "asl" / f"{CLIPS[target][1]}.mkv"
        if name in RECIPES:
            named = {"source": (OUT / system / "people" / source,)}
        else:  # a system that needs no training: it draws from the same pictures of the source, out of the model's folder
            photos = OUT / "photos" / source
            shutil.copytree(OUT / "comb" / "people" / source, photos, dirs_exist_ok=True)
            named = {"source": (photos,), "system": system}
        options = {"person": source} if name in RECIPES else {}
        print(Job(clip, out, options=options, consent=CONSENT, **named).run().summary(), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sets", "train", "swap"))
    parser.add_argument("system", nargs="?", default="df", help=", ".join(RECIPES))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0)
    a = parser.parse_args()
    if a.what == "sets":
        sets(a.data)
    elif a.what == "train":
        train_one(a.system, a.threads, a.minutes)
    else:
        swap(a.system, a.data)
