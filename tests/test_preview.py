"""Preview sheets show what they say, in the same place each time, and become a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mien import picture, preview, video
from mien.errors import InputError
from mien.phases import Drawn, Side

PEOPLE = ("anna", "ben")
COLOURS = {"warped": -0.5, "target": 0.5, "drawn": 0.25, "swapped": -0.25}


class Painter(nn.Module):
    """Draws a flat colour: one where it draws a person from themselves, another where it swaps."""

    def __init__(self, masked: bool = True) -> None:
        super().__init__()
        self.masked = masked
        self.level = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, person: int, swap: bool = False) -> Drawn:
        colour = torch.full_like(x, COLOURS["swapped" if swap else "drawn"]) + person * 0.125
        return Drawn(colour + self.level, torch.zeros_like(x[:, :1]) if self.masked else None)


def faces(side: int = 32, each: int = 8) -> list[Side]:
    shape = (each, 3, side, side)
    one = Side(torch.full(shape, COLOURS["warped"]), torch.full(shape, COLOURS["target"]), {})
    return [one, one]


def code(value: float) -> int:
    return round((value * 0.5 + 0.5) * 255)


def test_every_column_is_what_it_says() -> None:
    model = Painter().train()
    sheet = preview.draw(model, PEOPLE, faces(), "step 500")
    assert model.training, "the network is left as it was"
    tile = preview.SMALLEST + preview.GAP
    each = preview.MOST_ROWS // 2
    assert sheet.shape == (preview.BAR * 3 + 2 * each * tile + preview.GAP, 5 * tile, 3)
    middle = preview.BAR * 2 + tile // 2
    found = [int(sheet[middle, preview.GAP + column * tile + 50, 0]) for column in range(5)]
    assert found == [code(-0.5), code(0.5), code(0.25), 0, code(-0.25 + 0.125)]
    below = middle + preview.BAR + each * tile
    found = [int(sheet[below, preview.GAP + column * tile + 50, 0]) for column in range(5)]
    assert found == [code(-0.5), code(0.5), code(0.25 + 0.125), 0, code(-0.25)]
    assert sheet[: preview.BAR].max() > 200, "the title is to be read"


def test_a_sheet_shows_the_pixels_as_they_are() -> None:
    side = faces(64, 1)[0]
    speckled = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    sheet = preview.draw(Painter(), PEOPLE, [Side(speckled, side.target, {}), side])
    shown = sheet[preview.BAR * 2 :, preview.GAP :][: preview.SMALLEST, : preview.SMALLEST]
    wanted = np.rint((speckled[0].permute(1, 2, 0).numpy() * 0.5 + 0.5) * 255)
    assert np.abs(shown[::2, ::2].astype(float) - wanted).max() <= 1
    assert np.array_equal(shown[::2, ::2], shown[1::2, 1::2]), "blocks of pixels, not smoothed ones"


def test_no_mask_no_column() -> None:
    width = 4 * (preview.SMALLEST + preview.GAP)
    assert preview.draw(Painter(masked=False), PEOPLE, faces()).shape[1] == width


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_sheets_become_a_clip(tmp_path: Path, suffix: str) -> None:
    for step, level in ((500, 40), (1000, 120), (12000, 200)):
        preview.write(tmp_path, step, np.full((121, 90, 3), level, np.uint8))
    assert sorted(p.name for p in (tmp_path / "previews").iterdir()) == ["000500.jpg", "001000.jpg", "012000.jpg"]
    out = preview.time_lapse(tmp_path, tmp_path / f"out{suffix}")
    seen = [int(frame.pixels.rgb().mean()) for frame in video.read(out)]
    assert len(seen) == 3 + preview.HOLD * preview.SLOWEST
    assert [round(level / 40) for level in seen[:3]] == [1, 3, 5]
    assert len(set(seen[2:])) == 1


def test_one_sheet_is_no_clip(tmp_path: Path) -> None:
    preview.write(tmp_path, 1, np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(InputError, match="1 preview sheets"):
        preview.time_lapse(tmp_path, tmp_path / "out.mp4")
    assert picture.load(tmp_path / "previews" / "000001.jpg").width == 32
