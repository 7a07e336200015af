"""Audits of sets whose every pose, expression and light is known, against targets that ask for something else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

import facesets
import heads
from mien import raster
from mien.errors import InputError
from mien.faces import expression, topology
from mien.faces.record import Record
from mien.faceset import audit as module
from mien.faceset import coverage, section
from mien.faceset.audit import audit
from mien.faceset.store import FaceSet, Writer
from mien.types import Array

SIDE = 96
FRONT = (0.0, 0.0)
LEFT, ABOVE = (-0.6, 0.0), (0.0, -0.6)
SMILE = {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8}


@dataclass(frozen=True)
class _Shown:
    """What one picture shows: degrees, which blendshapes, whether light comes from the side, whose face, how large."""

    yaw: float = 0.0
    pitch: float = 0.0
    shapes: dict[str, float] = field(default_factory=dict)
    way: tuple[float, float] = FRONT
    who: int = 0
    scale: float = 1.0
    sharpness: float = 0.05


def _set(folder: Path, shown: Sequence[_Shown], jitter: float = 1.0) -> FaceSet:
    """A set of rendered heads; a small random change of pose and mesh keeps them from repeating each other."""
    rng = np.random.default_rng(len(shown))
    with Writer(folder, facesets.SPEC, {}, form="png") as writer:
        for i, s in enumerate(shown):
            yaw, pitch = s.yaw + jitter * rng.normal(), s.pitch + jitter * rng.normal()
            points = heads.mesh(yaw, pitch, centre=(SIDE / 2, SIDE / 2), size=60 + 4 * jitter * rng.normal())
            shapes = [s.shapes.get(name, 0.02) for name in expression.NAMES]
            row = {
                "source": "made", "frame": i, "track": f"T{s.who}", "points": points,
                "to_frame": np.array([[s.scale, 0, 0], [0, s.scale, 0]]), "yaw": yaw, "pitch": pitch, "roll": 0.0,
                "score": 1.0, "sharpness": s.sharpness, "brightness": 0.5, "colour": np.zeros(3),
                "identity": np.eye(8)[s.who], "shapes": np.array(shapes),
            }  # fmt: skip
            writer.add(_rendered(points, s.way), np.full((SIDE, SIDE), 255, np.uint8), row)
    return FaceSet.open(folder)


def _rendered(points: Array, way: tuple[float, float]) -> Array:
    """A head of one colour, lighter where its surface faces `way` (right, down)."""
    normals = raster.vertex_normals(points[:468], topology.TRIANGLES)
    shade = np.clip(0.3 * (1 + normals[:, :2] @ way), 0.01, 1) ** (1 / 2.2)
    drawn, inside = raster.draw(points[:468], topology.TRIANGLES, np.repeat(shade[:, None], 3, 1), SIDE, SIDE)
    return (255 * np.where(inside[..., None], drawn, 0.4)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def plain(session_tmp: Path) -> FaceSet:
    """Forty calm faces that look into the camera, in soft light."""
    return _set(session_tmp / "plain", [_Shown()] * 40)


def _words(found: module.Audit, kind: str) -> list[str]:
    return [str(need) for need in found.needs if need.kind == kind]


def test_a_set_covers_itself(plain: FaceSet) -> None:
    found = audit(plain, plain)
    assert set(found.shares.values()) == {1.0}
    assert (found.pictures, found.frames, found.strangers, found.lacks) == (40, 40, (), ())
    assert [need.kind for need in found.needs] == ["count"]
    assert sum(cell.share for cell in found.cells) == pytest.approx(1)


def test_what_is_lacking_is_said_in_plain_words(plain: FaceSet, tmp_path: Path) -> None:
    asked = [_Shown()] * 10 + [_Shown(pitch=30)] * 10 + [_Shown(shapes=SMILE)] * 10 + [_Shown(way=LEFT)] * 10
    told: list[str] = []
    found = audit(plain, _set(tmp_path / "asked", asked), tell=lambda stage, done, total: told.append(stage))
    assert found.shares == {"pose": 0.75, "expression": 0.75, "light": 0.75, "acted": 0.5, "together": 0.25}
    assert _words(found, "pose") == ["looking down more than 5 degrees: 25% of the target, 0 pictures"]
    assert _words(found, "expression") == ["smile: 25% of the target, 0 pictures"]
    assert _words(found, "light") == ["light from the picture's left, as hard as there: 25% of the target, 0 pictures"]
    down = next(cell for cell in found.cells if (cell.yaw, cell.pitch) == (0, 30))
    assert (down.share, down.near, down.pictures) == (0.25, 0, 0)
    assert [lack.frame // 10 for lack in found.lacks] == [1, 2, 3] or len(found.lacks) == 3
    assert "looking down by about 30 degrees" in found.lacks[0].shows
    assert set(told) == {"light"}
    lines = list(found.lines())
    assert lines[0] == "plain: 40 pictures against 40 frames of asked"
    assert all("\n" not in line for line in lines)
    assert json.loads(found.to_json())["shares"] == found.shares


def test_what_is_there_but_never_at_once_is_said(tmp_path: Path) -> None:
    own = _set(tmp_path / "own", [_Shown(shapes=SMILE)] * 20 + [_Shown(yaw=40)] * 20)
    found = audit(own, _set(tmp_path / "asked", [_Shown(yaw=40, shapes=SMILE)] * 20))
    assert (found.shares["pose"], found.shares["expression"], found.shares["acted"]) == (1, 1, 0)
    (line,) = _words(found, "expression")
    assert (
        line == "smile with the head turned to the picture's right by about 40 degrees: 100% of the target, 0 pictures"
    )


def test_a_hole_inside_the_range_of_poses_is_found(tmp_path: Path) -> None:
    own = _set(tmp_path / "own", [_Shown(yaw=-40)] * 20 + [_Shown(yaw=40)] * 20)
    found = audit(own, _set(tmp_path / "asked", [_Shown(yaw=0)] * 30, jitter=0.1))
    assert _words(found, "pose") == ["facing the camera: 100% of the target, 0 pictures"]


def test_a_hundred_pictures_of_one_thing_are_not_scarce(tmp_path: Path, plain: FaceSet) -> None:
    rich = _set(tmp_path / "rich", [_Shown(yaw=yaw) for yaw in range(-45, 50, 5)] * 4)
    found = audit(rich, _set(tmp_path / "asked", [_Shown(yaw=yaw) for yaw in range(-40, 40, 2)]))
    assert found.shares["together"] == 1
    assert not _words(found, "pose")


def test_wrong_people_repetitions_size_and_softness_are_noticed(tmp_path: Path) -> None:
    own = _set(tmp_path / "own", [_Shown(scale=0.5)] * 9 + [_Shown(who=3)] * 2, jitter=0)
    target = _set(tmp_path / "large", [_Shown(scale=2.0)] * 5)
    found = audit(own, target)
    assert found.strangers == ("000010", "000011")
    assert found.repeats > 0.7
    kinds = {need.kind: str(need) for need in found.needs}
    assert kinds["size"].startswith("nearer: faces are 30 px wide in the set, ")
    assert kinds["people"].startswith("nobody else: 2 pictures")
    soft = audit(_set(tmp_path / "soft", [_Shown(sharpness=0.01)] * 5), target=_set(tmp_path / "t", [_Shown()] * 5))
    assert "sharper: the set has 20% of the target's detail" in _words(soft, "sharpness")


def test_light_is_read_from_the_skin(tmp_path: Path) -> None:
    seen = coverage.of_set(
        _set(tmp_path / "lit", [_Shown(way=FRONT), _Shown(way=LEFT), _Shown(way=ABOVE)]), lambda *_: None
    )
    front, left, above = seen.ways
    assert np.abs(front).max() < 0.1
    assert left[0] < -0.3
    assert abs(left[1]) < 0.15
    assert above[1] < -0.3
    assert seen.shading.mean(axis=1) == pytest.approx(np.ones(3))


def test_a_clip_is_a_target(plain: FaceSet, moving: Path, analysed: Path) -> None:
    found, same = audit(plain, moving), audit(plain, Record(analysed))
    assert found == same == audit(plain, analysed)
    assert found.target == "clip.mp4 (T1)"
    assert found.frames > 12
    assert found.size[1] > 40
    assert 0 < found.sharpness[1] < 1
    with pytest.raises(InputError, match="no track 'T9'"):
        audit(plain, analysed, track="T9")
    with pytest.raises(InputError, match="does not exist"):
        audit(plain, moving.with_name("none.mp4"))


def test_a_long_clip_is_looked_at_sparsely(analysed: Path, plain: FaceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = audit(plain, analysed)
    monkeypatch.setattr(coverage, "FRAMES", 6)
    monkeypatch.setattr(coverage, "BLOCK", 2)
    assert audit(plain, analysed).frames == -(-whole.frames // 4)


def test_the_section_is_whole_and_escaped(plain: FaceSet, tmp_path: Path) -> None:
    asked = [_Shown(pitch=30, shapes=SMILE, way=LEFT)] * 5 + [_Shown(yaw=-50)] * 5
    found = replace(audit(plain, _set(tmp_path / "asked", asked)), target="<b>")
    text = section.section(found)
    assert "Against &lt;b&gt;" in text
    assert all(str(need).split(":")[0].replace("'", "&#x27;") in text for need in found.needs)
    assert text.count("<rect") == len(found.cells)
    assert text.count("<svg") == text.count("</svg>") == 1
    assert text.count("<tr>") == text.count("</tr>")
