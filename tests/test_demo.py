"""The demo makes what it says from what comes with the package; here with clips of a few frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien import analysis, demo, picture, provenance, video
from mien.verify import verify


def test_the_clip_lies_on_its_side_with_uneven_moments_and_sound(tmp_path: Path) -> None:
    even = [demo.STEP * number for number in range(4)]
    uneven = [0, demo.STEP + 100, 3 * demo.STEP, 4 * demo.STEP]
    clip = demo._clip(tmp_path / "clip.mp4", even, turned=False)
    twin = demo._clip(tmp_path / "twin.mp4", uneven, turned=True)
    facts = [video.probe(path) for path in (clip, twin)]
    assert [fact.rotation for fact in facts] == [0, 90]
    assert [(fact.width, fact.height) for fact in facts] == [(demo.SIDE, demo.SIDE)] * 2
    assert all("audio" in [stream.type for stream in fact.streams] for fact in facts)
    steps = np.diff(video.index(twin).pts) * facts[1].time_base
    assert [round(float(step / demo.TICKS)) for step in steps] == np.diff(uneven).tolist()
    first = [next(video.read(path)).pixels.rgb().astype(int) for path in (clip, twin)]
    assert np.abs(first[0] - first[1]).mean() < 3, "upright, both show the same"


def test_every_view_shows_the_face(tmp_path: Path) -> None:
    finder = analysis.Settings().finder()
    photo = demo._astronaut()
    for seconds in (0.0, 1.4, 2.8):
        face = finder.find(picture.Picture(demo._view(photo, seconds)))[0]
        x0, y0, x1, y1 = face.box
        assert x0 > 0
        assert y0 > 0
        assert max(x1, y1) < demo.SIDE


def test_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "FRAMES", 8)
    told: list[str] = []
    made = demo.run(tmp_path / "out", lambda stage, done, total: told.append(stage))
    assert {"analyse", "swap"} <= set(told)
    assert len(made) == 8
    (page,) = (path for path in made if path.suffix == ".html")
    assert "clip_swapped.mp4" in page.read_text(encoding="utf-8")
    for path in made:
        assert path.is_file()
        assert path == page or provenance.read(path) is not None
    assert verify(tmp_path / "out" / "clip_swapped.mp4", tmp_path / "out" / "home").signer == "", (
        "by the demo's own key"
    )
    swaps = [provenance.read(path) for path in made if path.stem.endswith("_swapped")]
    assert len(swaps) == 3
    assert all("composite" in str(m and m.consents) for m in swaps)
    assert provenance.read(made[-1]) is not None
    photo, result = (
        picture.load(tmp_path / "out" / name).rgb().astype(int) for name in ("photo.png", "photo_swapped.png")
    )
    assert np.abs(photo - result).max() > 30
    assert np.abs(photo - result)[250:].mean() < 2, "only the mark"
    sheet = picture.load(tmp_path / "out" / "clip_swapped_sheet.jpg")
    assert (sheet.width, sheet.height) == (6 * 320, 2 * 320)
