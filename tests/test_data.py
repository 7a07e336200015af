"""Face sets become batches that depend on the seed and the step alone."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import torch

from mien import augment, data
from mien.errors import TrainingError
from mien.faces import align
from mien.faceset.store import FaceSet, Writer
from mien.phases import Batch, Training
from mien.types import Array, CropSpec

SPEC = CropSpec("dfl_full", 32)
SIDE = 80
STILL = augment.Settings(rotation=0, zoom=0, shift=0, flip=0, warp=0)
PLAIN = Training(())


def mesh(turn: float = 0.0) -> Array:
    """The canonical face in a crop of SIDE pixels, a little turned, with its irises."""
    points = align.canonical() @ np.array(
        [[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]]
    )
    points = points / (points[:, 1].max() - points[:, 1].min()) * 60 + [SIDE / 2, SIDE / 2, 0]
    irises = np.repeat(points[[33, 263]], 5, 0)
    return np.concatenate([points, irises]).astype(np.float32)


def face_set(folder: Path, count: int, tint: int, strangers: tuple[int, ...] = ()) -> FaceSet:
    """Faces that are one grey level each, `tint` + 4 * number, left half seen of the first."""
    person, other = np.eye(2, 8, dtype=np.float32)
    with Writer(folder, CropSpec("dfl_whole_face", SIDE), {}, form="png") as writer:
        for i in range(count):
            seen = np.full((SIDE, SIDE), 255, np.uint8)
            if i == 0:
                seen[:, SIDE // 2 :] = 0
            row = {"source": "", "frame": i, "track": "", "points": mesh(0.05 * i), "to_frame": np.eye(2, 3)}
            row |= dict.fromkeys(("pitch", "roll", "score", "sharpness", "brightness"), 0.0) | {"yaw": 10.0 * min(i, 1)}
            row |= {"colour": np.zeros(3), "identity": other if i in strangers else person, "shapes": np.zeros(52)}
            writer.add(np.full((SIDE, SIDE, 3), tint + 4 * i, np.uint8), seen, row)
    return FaceSet.open(folder)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[data.Gallery]:
    """Two persons: of 10 faces, 100..136, and of 5, 180..196."""
    folder = tmp_path_factory.mktemp("sets")
    sets = [face_set(folder / "anna", 10, 100), face_set(folder / "ben", 5, 180)]
    return [data.gallery([faces], name, SPEC, normals=True) for faces, name in zip(sets, ("anna", "ben"), strict=True)]


def drawn(batch: Batch) -> list[list[int]]:
    """The grey levels that each person's pictures have."""
    return [[round((float(t.mean()) + 1) * 127.5) for t in side.target] for side in batch]


def take(
    people: list[data.Gallery], start: int, steps: int, settings: augment.Settings = STILL, **more: bool
) -> list[Batch]:
    return list(islice(data.batches(people, settings, PLAIN, 100, 4, 7, **more)(start), steps))


def test_crops_are_wider_and_lie_where_the_trainings_do(people: list[data.Gallery]) -> None:
    wide = data.stored_spec(SPEC)
    assert people[0].crops.shape == (10, 6, wide.size, wide.size)
    assert wide.size is not None
    assert wide.size >= 1.3 * 32
    cut = (wide.size - 32) // 2
    assert align.matrix(mesh(), wide) - align.matrix(mesh(), SPEC) == pytest.approx(
        np.array([[0, 0, cut]] * 2), abs=1e-9
    )


def test_fine_lines_stay_fine_when_a_crop_shrinks() -> None:
    board = np.repeat(np.indices((96, 96)).sum(0)[..., None] // 3 % 2 * 255, 3, 2).astype(np.uint8)
    even = np.array([[1 / 1.5, 0, -1 / 6], [0, 1 / 1.5, -1 / 6]])
    cut = data._cut(board, even, 64).astype(float)
    exact = cv2.resize(
        cv2.resize(board, (192, 192), interpolation=cv2.INTER_NEAREST), (64, 64), interpolation=cv2.INTER_AREA
    )
    assert np.abs(cut - exact)[2:-2, 2:-2].mean() < 25
    assert cut.std() > 0.8 * exact.std()


def test_masks_are_the_seen_face_and_its_openings(people: list[data.Gallery]) -> None:
    face, eyes, mouth = people[0].crops[1, 3:].float() / 255
    inside = face > 0.5
    assert 0.2 < inside.float().mean() < 0.6
    for opening in (eyes, mouth):
        assert 0.005 < (opening > 0.25).float().mean() < 0.1
        assert not opening[~(face > 0)].any()
    assert float((eyes + mouth).max()) == pytest.approx(1, abs=0.01)
    rows = torch.arange(len(face))[:, None]
    assert float((eyes * rows).sum() / eyes.sum()) < float((mouth * rows).sum() / mouth.sum())
    hidden = people[0].crops[0, 3:].float() / 255
    assert not hidden[:, :, people[0].crops.shape[-1] // 2 + 2 :].any(), "the right half is not seen"


def test_normals_face_the_camera_and_have_no_border(people: list[data.Gallery]) -> None:
    normals = people[0].normals[0]
    assert torch.allclose(normals.norm(dim=0), torch.ones(()), atol=1e-4)
    assert (normals[2] < 0).float().mean() > 0.95
    half = normals.shape[-1] // 2
    assert normals[0, half, 2] < 0 < normals[0, half, -3], "left looks left"
    assert normals.diff(dim=1).norm(dim=0).max() < 0.7
    lit = take(people, 0, 1, replace(STILL, light=1, light_chance=1))[0][0]
    assert lit.target.std(dim=(2, 3)).max() > 0.02


def test_each_face_comes_once_an_epoch_and_small_sets_repeat(people: list[data.Gallery]) -> None:
    anna, ben = zip(*(drawn(batch) for batch in take(people, 0, 5)), strict=True)
    anna, ben = ([level for step in steps for level in step] for steps in (anna, ben))
    assert Counter(anna) == {100 + 4 * i: 2 for i in range(10)}
    assert Counter(ben) == {180 + 4 * i: 4 for i in range(5)}
    assert anna[:10] != anna[10:], "a new order each epoch"


def _same(a: Batch, b: Batch) -> bool:
    return all(
        torch.equal(x.warped, y.warped)
        and torch.equal(x.target, y.target)
        and torch.equal(x.masks["face"], y.masks["face"])
        for x, y in zip(a, b, strict=True)
    )


def test_a_batch_depends_on_seed_and_step_alone(people: list[data.Gallery]) -> None:
    settings = augment.Settings(hsv=0.1, colour=1, light=1, blur=0.05, compression=0.5)
    whole = take(people, 0, 6, settings)
    torch.manual_seed(99)
    source = data.batches(people, settings, PLAIN, 100, 4, 7)(3)
    for k in range(3, 6):
        time.sleep(0.01 * (k % 2))
        assert _same(next(source), whole[k])
    other = next(data.batches(people, settings, PLAIN, 100, 4, 8)(3))
    assert not _same(other, whole[3])


def test_a_batch_changes_nobodys_chance_or_threads(people: list[data.Gallery]) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    take(people, 0, 2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_timetables_change_the_strength_during_the_run(people: list[data.Gallery]) -> None:
    training = Training((), augment={"colour": ((0.0, 0.0), (0.5, 1.0))})
    source = data.batches(people, replace(STILL, colour=1), training, 100, 4, 7)
    before, after = drawn(next(source(49)))[0], drawn(next(source(50)))[0]
    assert max(before) <= 136
    assert max(after) > 137, "towards the other's brightness"


def test_bins_of_yaw_are_drawn_alike(people: list[data.Gallery]) -> None:
    levels = [x for batch in take(people, 0, 20, uniform_yaw=True) for x in drawn(batch)[0]]
    assert 20 < levels.count(100) < 60, "one face of ten looks ahead, and half of the draws are of it"


def test_strangers_are_named(tmp_path: Path) -> None:
    mixed = face_set(tmp_path / "mixed", 9, 60, strangers=(2, 5))
    (note,) = data.gallery([mixed], "anna", SPEC).notes
    assert note.startswith("2 of anna's 9 faces seem to be somebody else's (mixed/000003, mixed/000006): ")
    assert "--one-person" in note


def test_a_set_that_shows_too_little_is_named(tmp_path: Path) -> None:
    small = face_set(tmp_path / "small", 4, 60)
    (note,) = data.gallery([small], "anna", CropSpec("dfl_head", 32)).notes
    assert note.startswith("anna's crops end inside the training's frame (")
    assert note.endswith(
        "of it on one side is made up): extract them with --template dfl_head, or with a larger --margin"
    )


def test_more_threads_make_the_same_batches(people: list[data.Gallery]) -> None:
    one, three = (
        list(islice(data.batches(people, augment.Settings(), PLAIN, 100, 4, 7, workers=workers)(0), 6))
        for workers in (1, 3)
    )
    assert all(_same(a, b) for a, b in zip(one, three, strict=True))


def test_too_few_faces_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^anna has 3 faces only: at least 4 are needed") as caught:
        data.gallery([face_set(tmp_path / "few", 3, 60)], "anna", SPEC)
    assert "\n" not in str(caught.value)


def test_too_little_memory_is_one_line_before_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = face_set(tmp_path / "few", 4, 60)
    wide = data.stored_spec(SPEC).size
    assert wide is not None
    assert data.gallery_bytes(4, SPEC) == 4 * 6 * wide * wide
    free = psutil.virtual_memory()._replace(available=data.gallery_bytes(4, SPEC))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(TrainingError, match=r"^anna's faces need .* GiB of memory and .* are free"):
        data.gallery([few], "anna", SPEC)
