"""What a network draws by now: a sheet of fixed faces at intervals, and a clip made of the sheets.

A row a face: what training shows the network (warped), the face itself, the network's drawing of it, its mask (where it has
one), and the same face drawn as each other person. The faces and the layout stay: sheets of a run can be laid over each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mien import image, picture, video
from mien.errors import InputError
from mien.phases import Batch, Drawn
from mien.types import Array, Frame, Manifest
from mien.video import pictures
from mien.video.colour import BT709

FOLDER, SUFFIX = "previews", ".jpg"
MADE = Manifest("training preview", settings={"generative": True})
SMALLEST, MOST_ROWS = 128, 8
"""Sides of a picture that a sheet shows at least, and rows of a sheet."""
GAP, BAR = 6, 26
PAPER, INK, FAINT = 24, (235, 235, 235), (150, 150, 150)
SECONDS, SLOWEST, FASTEST, HOLD = 12, 2, 24, 2
"""A time-lapse lasts about this long, at this many sheets a second; its last one stays for so many seconds."""


def draw(model: nn.Module, people: Sequence[str], faces: Batch, title: str = "") -> Array:
    """The sheet as RGB uint8. model: `(x, person, swap=...) -> Drawn`; faces: a few of each person, in the people's order."""
    rows: list[Array] = []
    each = max(1, MOST_ROWS // len(people))
    for person, side in enumerate(faces):
        others = [other for other in range(len(people)) if other != person]
        columns = _columns(model, side.warped[:each].float(), side.target[:each].float(), person, others)
        masked = ["mask"] if len(columns) > 3 + len(others) else []
        names = ["warped", people[person], "drawn", *masked, *(f"as {people[other]}" for other in others)]
        rows.append(_heading(names, columns[0].shape[2]))
        rows += [np.hstack([_framed(tile) for tile in tiles]) for tiles in zip(*columns, strict=True)]
    width = rows[0].shape[1]
    return np.vstack([_text(title, width, INK), *rows, np.full((GAP, width, 3), PAPER, np.uint8)])


@torch.inference_mode()
def _columns(model: nn.Module, warped: Tensor, target: Tensor, person: int, others: Sequence[int]) -> list[Array]:
    """Each column as B x H x W x 3 uint8, all of one size."""
    was = model.training
    place = next(model.parameters()).device
    seen = target.to(place)
    drawn: Drawn = model.eval()(seen, person)
    swaps = [model(seen, other, swap=True).rgb for other in others]
    model.train(was)
    mask = [] if drawn.mask is None else [(drawn.mask * 2 - 1).expand(-1, 3, -1, -1)]
    tensors = [warped, target, drawn.rgb, *mask, *swaps]
    side = max(tensor.shape[-1] for tensor in tensors)
    side *= -(-SMALLEST // side)
    return [np.stack([_enlarged(tile, side) for tile in _pixels(tensor)]) for tensor in tensors]


def _pixels(tensor: Tensor) -> list[Array]:
    return image.from_tensor(tensor.float().cpu().numpy())


def _enlarged(rgb: Array, side: int) -> Array:
    """Pixels as blocks where they fit a whole number of times: a preview must not look better than the network draws."""
    whole = side % rgb.shape[0] == 0
    return cv2.resize(rgb, (side, side), interpolation=cv2.INTER_NEAREST if whole else cv2.INTER_CUBIC)


def _framed(tile: Array) -> Array:
    return cv2.copyMakeBorder(tile, 0, GAP, GAP, 0, cv2.BORDER_CONSTANT, value=(PAPER,) * 3)


def _heading(names: Sequence[str], side: int) -> Array:
    """One row of words, each over its column."""
    return np.hstack([_text(name, side + GAP, FAINT) for name in names])


def _text(text: str, width: int, ink: tuple[int, int, int]) -> Array:
    """A bar with a line of small print; what doesn't fit is cut."""
    bar = np.full((BAR, width, 3), PAPER, np.uint8)
    plain = text.encode("ascii", "replace").decode()
    return cv2.putText(bar, plain, (GAP, BAR - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, 1, cv2.LINE_AA)


def write(folder: Path, step: int, sheet: Array) -> Path:
    """Save a sheet as FOLDER/previews/000500.jpg. Raises OutputError where that can't be written."""
    path = _place(folder, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, picture.Picture(sheet), MADE)
    return path


def steps(folder: Path) -> list[int]:
    """The steps of a run whose sheets are there, ascending."""
    return sorted(int(path.stem) for path in (folder / FOLDER).glob(f"*{SUFFIX}") if path.stem.isdigit())


def time_lapse(folder: Path, out: Path) -> Path:
    """A clip (mp4, mkv, webm or gif) of all the sheets of a run, the last one held for a moment.

    Raises InputError where there are fewer than two sheets, OutputError where the clip can't be written.
    """
    sheets = [_place(folder, step) for step in steps(folder)]
    if len(sheets) < 2:
        raise InputError(
            f"{folder} has {len(sheets)} preview sheets: a time-lapse needs two; train on, or preview oftener"
        )
    rate = Fraction(min(max(len(sheets) // SECONDS, SLOWEST), FASTEST))
    frames = len(sheets) + HOLD * int(rate)
    height, width = picture.load(sheets[-1]).rgb().shape[:2]
    colour = (BT709, BT709, BT709, 1)
    info = video.VideoInfo(out, width, height, 0, 1 / rate, rate, "rgb24", 8, colour, "mjpeg", frames, frames / rate)
    with video.Writer(out, info, MADE) as writer:
        for index in range(frames):
            rgb = picture.load(sheets[min(index, len(sheets) - 1)]).rgb()
            planes = pictures.from_rgb(image.resize(rgb, (width, height)))
            writer.write(Frame(planes, index, index, info.time_base))
    return out


def _place(folder: Path, step: int) -> Path:
    return folder / FOLDER / f"{step:06d}{SUFFIX}"
