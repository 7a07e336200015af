"""What the frames that a set does not cover have in common, said in plain words: what to shoot more of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mien.faceset.coverage import ACTIONS, LIGHT, POSE, Distances, Seen
from mien.types import Array

WORTH = 0.02
"""Least share of the frames for which something is worth a line."""
SCARCE = 3, 0.01
"""Pictures below which a set hardly has something: this many, or this share of it, whichever is more."""
STEP, REACH = 5, 60
"""Degrees between the angles that are tried as a limit of what the set has, and the largest of them."""
ASIDE = 0.12
"""First order of the shading from which on light is said to come from a side."""
LINES = 6
"""Most lines of one kind."""
_TURNS = (
    (0, 1, "turned to the picture's right"), (0, -1, "turned to the picture's left"), (1, 1, "looking down"),
    (1, -1, "looking up"),
)  # fmt: skip
_SIDES = ((0, 1, "the picture's right"), (0, -1, "the picture's left"), (1, 1, "below"), (1, -1, "above"))


@dataclass(frozen=True)
class Need:
    """Something to shoot more of, or to change. kind: pose, expression, light, size, sharpness, count or people; share: of the
    target's frames that ask for it, None where it isn't a matter of frames; pictures: how many the set has of it."""

    kind: str
    words: str
    share: float | None = None
    pictures: int | None = None

    def __str__(self) -> str:
        if self.share is None:
            return self.words
        return (
            f"{self.words}: {self.share:.0%} of the target, {self.pictures} picture{'s' if self.pictures != 1 else ''}"
        )


def needs(wanted: Seen, own: Seen, far: Distances) -> list[Need]:
    """What the target asks for and the set does not have: poses, then expressions, then light, the commonest first of each."""
    return [*_poses(wanted, own, far), *_expressions(wanted, own, far), *_lights(wanted, own, far)]


def said(seen: Seen, i: int) -> str:
    """What frame `i` shows, in words."""
    strong = [
        name for (name, (level, _)), value in zip(ACTIONS.items(), seen.actions[i], strict=True) if value >= level
    ]
    return ", ".join([_head(seen.pose[i]), *strong, f"light from {_side(seen.ways[i])}"])


def _scarce(count: int, own: Seen) -> bool:
    return count < max(SCARCE[0], SCARCE[1] * len(own.frames))


def _poses(wanted: Seen, own: Seen, far: Distances) -> list[Need]:
    """Heads turned farther than the set's, then poses inside its range that it lacks."""
    lacking, found = far.pose > 1, []
    left = lacking.copy()
    for axis, sign, words in _TURNS:
        there, here = sign * wanted.pose[:, axis], sign * own.pose[:, axis]
        for angle in range(STEP, REACH + STEP, STEP):
            beyond, pictures = there > angle, int((here > angle).sum())
            if _scarce(pictures, own):
                if beyond.mean() >= WORTH and lacking[beyond].mean() >= 0.5:
                    found.append(Need("pose", f"{words} more than {angle} degrees", float(beyond.mean()), pictures))
                    left &= ~beyond
                break
    cells = np.rint(wanted.pose / 10) * 10
    for cell in np.unique(cells[left], axis=0):
        inside = left & (cells == cell).all(axis=1)
        near = int((np.linalg.norm(own.pose - wanted.pose[inside].mean(axis=0), axis=1) <= POSE).sum())
        if inside.mean() >= WORTH and _scarce(near, own):
            found.append(Need("pose", _head(cell), float(inside.mean()), near))
    return _most(found)


def _head(pose: Array) -> str:
    """A pose in words, to ten degrees."""
    yaw, pitch = (int(10 * np.rint(angle / 10)) for angle in pose)
    words = [_TURNS[0 if yaw > 0 else 1][2] + f" by about {abs(yaw)} degrees"] if yaw else []
    words += [_TURNS[2 if pitch > 0 else 3][2] + f" by about {abs(pitch)} degrees"] if pitch else []
    return " and ".join(words) or "facing the camera"


def _expressions(wanted: Seen, own: Seen, far: Distances) -> list[Need]:
    """What the target's face does and the set's hardly ever; then what it does, but not with the head held like that."""
    found, left = [], far.acted > 1
    there, here = wanted.actions, own.actions
    for at, (name, (level, _)) in enumerate(ACTIONS.items()):
        doing, pictures = there[:, at] >= level, int((here[:, at] >= level).sum())
        if doing.mean() >= WORTH and _scarce(pictures, own) and (far.expression[doing] > 1).mean() >= 0.5:
            found.append(Need("expression", name, float(doing.mean()), pictures))
            left &= ~doing
    left &= (far.pose <= 1) & (far.expression <= 1)  # both are there, but not at once
    cells = np.rint(wanted.pose / 20) * 20
    for at, (name, (level, _)) in enumerate(ACTIONS.items()):
        for cell in np.unique(cells[left], axis=0):
            inside = left & (there[:, at] >= level) & (cells == cell).all(axis=1)
            near = int(((here[:, at] >= level) & (np.rint(own.pose / 20) * 20 == cell).all(axis=1)).sum())
            if inside.mean() >= WORTH and _scarce(near, own):
                found.append(Need("expression", f"{name} with the head {_head(cell)}", float(inside.mean()), near))
                left &= ~inside
    return _most(found)


def _lights(wanted: Seen, own: Seen, far: Distances) -> list[Need]:
    """Light from where it hardly ever comes in the set."""
    lacking = far.light > 1
    sides, found = np.array([_side(way) for way in wanted.ways]), []
    for side in np.unique(sides[lacking]):
        inside = lacking & (sides == side)
        usual = wanted.shading[inside].mean(axis=0)
        near = int((np.sqrt(((own.shading - usual) ** 2).mean(axis=1)) <= LIGHT).sum())
        if inside.mean() >= WORTH and _scarce(near, own):
            found.append(Need("light", f"light from {side}, as hard as there", float(inside.mean()), near))
    return _most(found)


def _side(way: Array) -> str:
    """Where light comes from, in words, from the first order of the shading."""
    axis = int(np.abs(way).argmax())
    if abs(way[axis]) < ASIDE:
        return "the front"
    return next(words for a, sign, words in _SIDES if a == axis and sign * way[axis] > 0)


def _most(found: list[Need]) -> list[Need]:
    return sorted(found, key=lambda need: -(need.share or 0))[:LINES]
