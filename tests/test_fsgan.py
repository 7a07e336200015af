"""FSGAN: who learns when, in steps of a turn, holes, what is left out; the drawing of real faces, of one photo and of three."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import heads
import portraits
import tiny
from mien import analysis, geometry, picture, systems
from mien.errors import InputError, NoFaceError, SettingsError
from mien.faces import align, stepwise
from mien.jobs import Job
from mien.nets import fsgan as nets
from mien.oneshot import drawing, meshes, reenacting
from mien.phases import Moment, Side, at
from mien.systems import fsgan
from mien.types import Crop, CropSpec, Face, Pose

SIZE = fsgan.TINY.size
PHASES = {phase.name: phase for phase in fsgan.training(fsgan.TINY).phases}


def side(same: tuple[int, ...] = (1, 0, 1, 0)) -> Side:
    """Noise with real meshes; the lower half of the picture is face, the upper hair."""
    generator, count = torch.Generator().manual_seed(1), len(same)
    pictures = torch.rand(2, count, 3, SIZE, SIZE, generator=generator) * 2 - 1
    points = [torch.from_numpy(heads.mesh(yaw, centre=(32, 32), size=48)[:, :2]) for yaw in (0, 10, 20)]
    more = {"same": torch.tensor(same, dtype=torch.float32)}
    for name, mesh in zip(("source_points", "between", "points"), points, strict=True):
        more[name] = mesh[None].repeat(count, 1, 1)
    face = torch.zeros(count, 1, SIZE, SIZE)
    face[:, :, 8:56, 8:56] = 1
    hair = torch.zeros_like(face)
    hair[:, :, :16] = 1
    return Side(pictures[0], pictures[1], {"face": face, "hair": hair}, more)


@pytest.fixture(scope="module")
def net() -> torch.nn.ModuleDict:
    """Untrained, but where it looks for a face it finds one."""
    torch.manual_seed(0)
    net = fsgan.network(fsgan.TINY)
    with torch.no_grad():
        net["model"].gs.head.bias[nets.FACE] += 5
    return net


def statistics(net: torch.nn.ModuleDict) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in net["model"].named_buffers()}


@pytest.mark.parametrize("name", PHASES)
def test_each_phase_moves_its_own_network_only(net: torch.nn.ModuleDict, name: str) -> None:
    phase = PHASES[name]
    for n, p in net.named_parameters():
        p.grad = None
        p.requires_grad_(n.startswith(phase.parts))
    before = statistics(net)
    torch.manual_seed(3)
    terms = phase.losses(net, [side()], Moment(1, phase.starts))
    assert set(terms) == set(phase.weights)
    torch.stack([at(phase.weights[term], phase.starts) * value for term, value in terms.items()]).sum().backward()
    got = {n for n, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    mine = {n for n, _ in net.named_parameters() if n.startswith(phase.parts)}
    assert got <= mine
    assert all(n.endswith("bias") for n in mine - got), "some weights learn nothing"
    part = f"{name.split()[0]}."
    moved = {n.split(".")[0] for n, x in statistics(net).items() if not torch.equal(x, before[n])}
    assert moved == {part[:-1]}, "what rests keeps its statistics"


def test_one_turn_after_the_other() -> None:
    for progress in np.linspace(0, 0.999, 50):
        now = {name.split()[0] for name, phase in PHASES.items() if phase.starts <= progress < phase.ends}
        assert len(now) == 1
    assert [phase.starts for phase in PHASES.values()] == sorted(phase.starts for phase in PHASES.values())
    for phase in PHASES.values():
        assert at(phase.lr, phase.starts) == 1
        assert at(phase.lr, phase.ends - 1e-6) == pytest.approx(0.125)


def test_every_second_batch_takes_two_steps() -> None:
    model, asked = fsgan.network(fsgan.TINY)["model"].eval(), []
    assert isinstance(model, nets.Networks)
    model.gr.register_forward_hook(lambda *_: asked.append(1))
    with torch.no_grad():
        straight, again, by_the_way = (fsgan._turned(model, side(), twice)["rgb"] for twice in (False, False, True))
    assert len(asked) == 4
    assert torch.equal(straight, again)
    assert not torch.equal(straight, by_the_way)


def test_rows_of_one_person_re_enact_and_others_blend(net: torch.nn.ModuleDict) -> None:
    model, moment = net["model"].eval(), Moment(0, 0.5)
    assert isinstance(model, nets.Networks)
    with torch.no_grad():
        whole, strangers = side(), side((0, 0, 0, 0))
        made = fsgan._reenacted(model, whole, moment)
        assert torch.equal(made.answer, whole.target[::2])
        assert made.counts.tolist() == [1, 1]
        assert len(fsgan._blended(model, whole, moment).rgb) == 2
        none = fsgan._reenacted(model, strangers, moment)
    assert none.counts.tolist() == [0]
    torch.manual_seed(0)
    assert PHASES["gr"].losses(net, [strangers], moment)["pixels"] == 0


def test_rows_without_a_face_are_skipped(net: torch.nn.ModuleDict, monkeypatch: pytest.MonkeyPatch) -> None:
    model = net["model"].eval()
    assert isinstance(model, nets.Networks)
    seen = torch.zeros(2, 1, SIZE, SIZE)
    seen[0, 0, 30, 30:39], seen[1, 0, 30, 30:40] = 1, 1  # 9 pixels, and 10
    monkeypatch.setattr(model, "shows", lambda pictures, kind: seen)
    with torch.no_grad():
        made = fsgan._blended(model, side(), Moment(0, 0.9))
    assert made.counts.tolist() == [0, 1]


def test_the_answer_of_blending_is_a_clone(net: torch.nn.ModuleDict) -> None:
    model = net["model"].eval()
    assert isinstance(model, nets.Networks)
    with torch.no_grad():
        made = fsgan._blended(model, side(), Moment(0, 0.9))
    outside = torch.ones(SIZE, SIZE, dtype=torch.bool)
    outside[16:56, 8:56] = False
    assert torch.equal(made.answer[..., outside], made.real[..., outside])
    assert not torch.equal(made.answer, made.real)


def test_a_face_without_surroundings_is_cloned_as_it_is(
    net: torch.nn.ModuleDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, whole = net["model"].eval(), side((0, 0))
    assert isinstance(model, nets.Networks)
    itself = torch.where(fsgan._face(whole) > 0, whole.target, nets.NOTHING)
    monkeypatch.setattr(model, "complete", lambda face, shown, wanted: itself)
    with torch.no_grad():
        made = fsgan._blended(model, whole, Moment(0, 0.9))
    assert (made.answer - whole.target).abs().max() < 0.01, "the target's face in the target is the target"
    within = fsgan.inner(fsgan._face(whole))
    assert within.sum() == 2 * 36 * 44, "two pixels less on every side of 40 x 48"


def test_a_face_is_no_hair_and_classes_add_up() -> None:
    classes = fsgan._classes(side())
    assert torch.equal(classes.sum(1), torch.ones(4, SIZE, SIZE))
    assert classes[0, :, 10, 30].tolist() == [0, 0, 1]
    assert classes[0, :, 30, 30].tolist() == [0, 1, 0]
    assert classes[0, :, 30, 2].tolist() == [1, 0, 0]


def test_holes_lie_on_a_rim() -> None:
    face = torch.zeros(64, 1, SIZE, SIZE)
    face[:, :, 10:50, 12:52] = 1  # 40 x 40: half axes of 10 to 20 pixels
    torch.manual_seed(2)
    found = fsgan.holes(face)
    assert found.unique().tolist() == [0, 1]
    left, right = found[:, 0, 10:50, 12].sum(1) > 0, found[:, 0, 10:50, 51].sum(1) > 0
    assert (left | right).all()
    assert 10 < left.sum() < 54
    inside = (found * face).sum((1, 2, 3))
    assert (inside > 0).all()
    assert (inside < 0.5 * 40 * 40).all()
    everything = found.sum((1, 2, 3))
    assert everything.max() <= np.pi * 20 * 20 * 1.05


def test_flat_meshes_get_their_depth_back() -> None:
    for yaw, pitch, roll in ((0, 0, 0), (30, 10, 5), (-40, -15, 10)):
        mesh = heads.mesh(yaw, pitch, roll)
        found = align.pose(meshes.lifted(mesh[:, :2]))
        assert np.allclose([found.yaw, found.pitch, found.roll], [yaw, pitch, roll], atol=0.01)
    half = meshes.half_way(heads.mesh(-10)[:, :2], heads.mesh(30)[:, :2])
    assert np.abs(half - heads.mesh(10)[:, :2])[:468].max() < 0.5


def test_a_photo_is_rolled_with_its_mesh() -> None:
    spec = reenacting.photo_spec(SIZE)
    assert (spec.size, spec.margin) == (80, 1.25)
    mesh = heads.mesh(roll=5, centre=(39.5, 39.5), size=40)
    photo = np.zeros((80, 80, 3), np.uint8)
    x, y = np.rint(mesh[4, :2]).astype(int)
    photo[y - 1 : y + 2, x - 1 : x + 2] = 255
    still, same = reenacting.rolled(photo, mesh, 0, SIZE)
    assert np.array_equal(still, photo[8:72, 8:72])
    assert np.allclose(same[:, :2], mesh[:, :2] - 8)
    turned, points = reenacting.rolled(photo, mesh, 20, SIZE)
    assert align.pose(points).roll == pytest.approx(25, abs=0.01)
    assert turned[tuple(np.rint(points[4, 1::-1]).astype(int))].mean() > 200


def crops(numbers: tuple[int, ...], spec: CropSpec) -> list[Crop]:
    return [align.crop(*seen(number), spec) for number in numbers]


_seen: dict[int, tuple[picture.Picture, Face]] = {}


def seen(number: int) -> tuple[picture.Picture, Face]:
    if number not in _seen:
        photo = picture.load(portraits.composite(number))
        _seen[number] = photo, analysis.Settings().finder().find(photo)[0]
    return _seen[number]


@pytest.fixture(scope="module")
def system() -> fsgan.System:
    found = systems.load("fsgan", tiny.options("fsgan"))
    assert isinstance(found, fsgan.System)
    return found


def test_one_photo_and_three(system: fsgan.System) -> None:
    (target,) = crops((5,), system.target_spec)
    photo = crops((3,), system.source_spec)
    views = [photo[0], *(turned(photo[0], yaw) for yaw in (25.0, -25.0))]
    one, three = system.enroll(photo), system.enroll(views)
    assert [len(who["pictures"]) for who in (one, three)] == [1, 3]
    assert len(system.enroll([*photo, *photo])["pictures"]) == 1, "the same view twice"
    for who in (one, three):
        (swapped,) = system.swap(who, [target])
        assert swapped.rgb.shape == (SIZE, SIZE, 3)
        assert swapped.rgb.min() >= 0
        assert swapped.rgb.max() <= 255
        (drawn,) = system.reenact(who, [target])
        assert (drawn.shape, drawn.dtype) == ((SIZE, SIZE, 3), np.uint8)
    pair = system.swap(one, [target, target])
    assert np.abs(pair[0].rgb - pair[1].rgb).max() < 2
    assert system.reenact(one, []) == []


def test_a_whole_photo_is_re_enacted(system: fsgan.System, tmp_path: Path) -> None:
    whole = systems.load("fsgan", {**tiny.options("fsgan"), "whole": True})
    (target,), photo = crops((5,), system.target_spec), crops((3,), system.source_spec)
    who = system.enroll(photo)
    (swapped,), (drawn,) = whole.swap(who, [target]), system.reenact(who, [target])
    assert np.array_equal(swapped.rgb, drawn)
    assert swapped.alpha[SIZE // 2, SIZE // 2] == swapped.alpha[SIZE // 8, SIZE // 8] == 1, "not the face alone"
    out = tmp_path / "out.png"
    job = Job(
        portraits.composite(5), out, (portraits.composite(3),), system="fsgan", compose={"blend": "raw", "mask": "predicted"},
        options={**tiny.options("fsgan"), "whole": True},
    )  # fmt: skip
    assert job.run().swapped == 1
    before, after = picture.load(portraits.composite(5)).array, picture.load(out).array
    changed = np.abs(before.astype(int) - after).max(axis=2) > 3
    assert 0.2 < changed.mean() < 0.95, "a square, not the face alone"


def turned(crop: Crop, yaw: float) -> Crop:
    """A photo whose mesh says that the head is turned (its pixels stay: only who is chosen matters)."""
    middle = crop.points.mean(axis=0)
    rotation = geometry.rotation_of(Pose(yaw, 0.0, 0.0))
    return replace(crop, points=((crop.points - middle) @ rotation.T + middle).astype(np.float32))


def test_a_turn_is_drawn_in_steps_and_views_are_mixed() -> None:
    spec = CropSpec("arcface_128", SIZE)
    (driver,), photos = crops((5,), spec), crops((3,), reenacting.photo_spec(SIZE))
    asked: list[int] = []

    def count(pictures: Tensor, points: Tensor) -> Tensor:
        asked.append(len(pictures))
        return pictures

    who = reenacting.enrolled(photos)
    reenacting.reenacted(who, [driver], count)
    assert asked == [1], "both look ahead: one step"
    asked.clear()
    reenacting.reenacted(who, [turned(driver, 40.0), driver], count)
    assert asked == [2, 1], "a long turn takes two, and only it"
    asked.clear()
    views = [turned(photos[0], yaw) for yaw in (-20.0, 20.0)]
    views[1] = replace(views[1], rgb=255 - views[1].rgb)
    both = reenacting.enrolled(views)
    yaws = both["poses"][:, 0]
    middle = turned(driver, float(yaws.mean()) - align.pose(driver.points).yaw)
    mixed = reenacting.reenacted(both, [middle], count)
    assert asked == [2]
    assert mixed.abs().mean() < 0.15, "half a picture and half its negative are grey"
    assert stepwise.count(who["meshes"][0], who["meshes"][0]) == 1


def test_of_many_photos_the_views_are_kept() -> None:
    (photo,) = crops((3,), reenacting.photo_spec(SIZE))
    many = [turned(photo, yaw) for yaw in np.linspace(-80, 80, 60)]
    kept = reenacting.enrolled(many)["poses"][:, 0]
    assert 8 <= len(kept) <= reenacting.MOST
    assert np.ptp(kept) > 120
    with pytest.raises(NoFaceError, match="photo"):
        reenacting.enrolled([])


def test_files_of_another_system_are_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "net.safetensors", systems.module("simswap")
    drawing.write(path, other.network(other.TINY)["model"], "simswap", asdict(other.TINY), 1)
    with pytest.raises(InputError, match="no network of the system 'fsgan'"):
        systems.load("fsgan", {"weights": str(path)})
    drawing.write(path, other.network(other.TINY)["model"], "fsgan", asdict(fsgan.TINY), 1)
    (target,) = crops((5,), CropSpec("arcface_128", SIZE))
    who = reenacting.enrolled(crops((3,), reenacting.photo_spec(SIZE)))
    with pytest.raises(InputError, match="another network"):
        systems.load("fsgan", {"weights": str(path)}).swap(who, [target])
    with pytest.raises(SettingsError, match="recipe"):
        systems.load("fsgan").swap(who, [target])
    with pytest.raises(SettingsError, match="size = 65"):
        fsgan.Config(size=65)
