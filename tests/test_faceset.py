"""Face sets on disk: what is written is read back, nothing half-written is left, and orders and choices do what they say."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heads
from mien.errors import InputError, MienError, NoFaceError, OutputError, SettingsError
from mien.faces import expression
from mien.faceset import likeness, manage, store
from mien.faceset.store import FaceSet, Writer
from mien.types import Array, CropSpec

SPEC = CropSpec("dfl_whole_face", 32, 1.0)


def row(who: int = 0, **values: Any) -> dict[str, Any]:
    """A face of person `who`: the canonical mesh, and numbers that `values` change."""
    identity = np.eye(8, dtype=np.float32)[who]
    plain: dict[str, Any] = {
        "source": "a.mkv", "frame": 0, "track": "T1", "points": heads.mesh(centre=(16, 16), size=20),
        "to_frame": np.array([[2.0, 0, 0], [0, 2.0, 0]]), "yaw": 0.0, "pitch": 0.0, "roll": 0.0, "score": 1.0,
        "sharpness": 1.0, "brightness": 0.5, "colour": np.array([60.0, 10, 10]), "identity": identity,
        "shapes": np.zeros(52, np.float32),
    }  # fmt: skip
    return plain | values


def make(folder: Path, rows: Iterable[dict[str, Any]], form: str = "png", spec: CropSpec = SPEC) -> FaceSet:
    """A set of such faces; the pictures are noise, each another."""
    with Writer(folder, spec, {"warnings": ["one"]}, form=form) as writer:
        for number, values in enumerate(rows):
            writer.add(heads.noise(number, 32), np.full((32, 32), number, np.uint8), values)
    return FaceSet.open(folder)


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- on disk ---


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows = [row(frame=3, yaw=-10.5, track=""), row(1, source="b.mkv", shapes=np.linspace(0, 1, 52))]
    faces = make(tmp_path / "set", rows)
    assert len(faces) == 2
    assert faces.spec == SPEC
    assert faces.names == ["000001", "000002"]
    assert faces.about["warnings"] == ["one"]
    assert faces.about["identity"] == store.identity_weights()
    assert (faces.rgb(1) == heads.noise(1, 32)).all()
    assert (faces.mask(1) == 1).all()
    for name in store.SCHEMA.names[1:]:
        wanted = [values[name] for values in rows]
        found = faces.column(name)
        if isinstance(wanted[0], str):
            assert found.tolist() == wanted
        else:
            np.testing.assert_allclose(found, np.array(wanted), rtol=1e-6, atol=1e-6)
    assert faces.points(1).shape == (478, 3)
    assert faces.column("to_frame").shape == (2, 2, 3)
    assert left_over(tmp_path) == ["set"]


def test_jpeg_pictures_keep_their_colours(tmp_path: Path) -> None:
    faces = make(tmp_path / "set", [row()], form="jpg")
    assert faces.picture(0).name == "000001.jpg"
    assert np.abs(faces.rgb(0).astype(int) - heads.noise(0, 32)).mean() < 2


def test_many_rows_are_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROWS", 2)
    faces = make(tmp_path / "set", [row(frame=number) for number in range(5)])
    assert faces.column("frame").tolist() == [0, 1, 2, 3, 4]
    assert faces.column("identity").shape == (5, 8)


def test_what_goes_wrong_leaves_nothing(tmp_path: Path) -> None:
    def faces() -> Iterator[dict[str, Any]]:
        yield row()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "set", faces())
    assert left_over(tmp_path) == []


def test_a_killed_program_leaves_no_set_and_is_no_obstacle(tmp_path: Path) -> None:
    code = f"""
import os
import signal
from pathlib import Path
import numpy as np
from mien.faceset.store import Writer
from mien.types import CropSpec
writer = Writer(Path({str(tmp_path / "set")!r}), CropSpec("dfl_whole_face", 32), {{}}).__enter__()
writer.add(np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8), {{}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert left_over(tmp_path) == ["set.part"]
    with pytest.raises(InputError, match="is no face set"):
        FaceSet.open(tmp_path / "set")
    assert len(make(tmp_path / "set", [row()])) == 1
    assert left_over(tmp_path) == ["set"]


def test_a_full_disk_is_told_in_one_line_and_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = make(tmp_path / "set", [row()])
    written = Path.write_bytes
    budget = [3000]

    def full(self: Path, data: bytes) -> int:
        budget[0] -= len(data)
        if budget[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left on device") as told:
        manage.export(old, [0] * 9, tmp_path / "set", overwrite=True)
    assert "\n" not in str(told.value)
    assert left_over(tmp_path) == ["set"]
    assert len(FaceSet.open(tmp_path / "set")) == 1


def test_nothing_is_overwritten_unless_asked_for_and_only_sets(tmp_path: Path) -> None:
    faces = make(tmp_path / "set", [row(), row(1)])
    with pytest.raises(OutputError, match="exists"):
        make(tmp_path / "set", [row()])
    assert len(manage.export(faces, [1], tmp_path / "set", overwrite=True)) == 1
    (tmp_path / "photos").mkdir()
    with pytest.raises(OutputError, match="is no face set and is not replaced"):
        Writer(tmp_path / "photos", SPEC, {}, overwrite=True)
    with pytest.raises(OutputError, match="does not exist"):
        Writer(tmp_path / "none" / "set", SPEC, {})
    assert left_over(tmp_path) == ["photos", "set"]


def _spoil(folder: Path, how: str) -> None:
    described = folder / "set.json"
    values = json.loads(described.read_text())
    match how:
        case "gone":
            described.unlink()
        case "old":
            described.write_text(json.dumps(values | {"version": 0}))
        case "cut":
            described.write_text(described.read_text()[:40])
        case "text":
            described.write_text('"a face set"')
        case "count":
            described.write_text(json.dumps(values | {"faces": 7}))
        case "table":
            (folder / "faces.parquet").write_bytes((folder / "faces.parquet").read_bytes()[:200])
        case "no table":
            (folder / "faces.parquet").unlink()
        case "picture":
            (folder / "faces" / "000002.png").unlink()
        case "masks":
            (folder / "masks" / "000001.png").unlink()


@pytest.mark.parametrize(
    "how, told",
    [
        ("gone", "is no face set"), ("old", "of version 0"), ("cut", "is damaged"), ("text", "version None"),
        ("count", "is damaged"), ("table", "is damaged"), ("no table", "is damaged"),
        ("picture", "lacks faces/000002.png"), ("masks", "lacks masks/000001.png"),
    ],
)  # fmt: skip
def test_a_spoilt_set_is_told_in_one_line(tmp_path: Path, how: str, told: str) -> None:
    make(tmp_path / "set", [row(), row(1)])
    _spoil(tmp_path / "set", how)
    with pytest.raises(InputError, match=told) as error:
        FaceSet.open(tmp_path / "set")
    assert "\n" not in str(error.value)


def test_a_cut_picture_is_told_when_it_is_read(tmp_path: Path) -> None:
    faces = make(tmp_path / "set", [row()])
    faces.picture(0).write_bytes(b"")
    with pytest.raises(InputError, match=r"000001.png is missing or damaged"):
        faces.rgb(0)


# --- orders ---


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    """30 faces: most of them person 2, the others person 5, turned and lit in many ways; every third repeats the one before."""
    random = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for number in range(30):
        if number % 3 == 2:
            values = rows[-1] | {"sharpness": rows[-1]["sharpness"] / 2, "frame": number}
        else:
            yaw, pitch, roll = random.uniform(-40, 40, 3) * (1, 0.5, 0.2)
            mesh = heads.mesh(yaw, pitch, roll, (16, 16), 18 + 4 * random.random())
            who = 2 if number < 21 else 5
            values = row(
                who, source=f"{who}.mkv", frame=number, points=mesh, yaw=yaw, pitch=pitch, roll=roll,
                sharpness=random.random() + 0.1, brightness=random.random(), colour=random.uniform(20, 80, 3),
                shapes=random.random(52) ** 4,
            )  # fmt: skip
        rows.append(values)
    return make(tmp_path_factory.mktemp("people") / "set", rows)


@pytest.mark.parametrize("by", manage.ORDERS)
def test_an_order_holds_every_face_once(people: FaceSet, by: str) -> None:
    assert np.sort(manage.sort(people, by)).tolist() == list(range(30))


@pytest.mark.parametrize("by", ["yaw", "pitch", "roll", "brightness"])
def test_numbers_ascend(people: FaceSet, by: str) -> None:
    assert (np.diff(people.column(by)[manage.sort(people, by)]) >= 0).all()


def test_the_sharpest_and_the_largest_come_first(people: FaceSet) -> None:
    assert (np.diff(people.column("sharpness")[manage.sort(people, "blur")]) <= 0).all()
    sizes = manage.numbers(people, "size")
    assert (np.diff(sizes[manage.sort(people, "size")]) <= 0).all()
    assert 36 < sizes.max() < 46, "twice as large in the frame as in the crop"


def test_identity_puts_people_together(people: FaceSet) -> None:
    assert people.column("source")[manage.sort(people, "identity")].tolist() == ["2.mkv"] * 21 + ["5.mkv"] * 9


def test_source_follows_the_clip(people: FaceSet) -> None:
    assert manage.sort(people, "source").tolist() == list(range(30))


def test_duplicates_lie_together_the_sharpest_first(people: FaceSet) -> None:
    pairs = manage.sort(people, "duplicates")[:20].reshape(-1, 2)
    assert (pairs[:, 1] == pairs[:, 0] + 1).all()
    assert (pairs[:, 1] % 3 == 2).all()


@pytest.mark.parametrize("by, column", [("expression", "shapes"), ("colour", "colour")])
def test_each_face_is_followed_by_the_most_similar_one_left(people: FaceSet, by: str, column: str) -> None:
    values = people.column(column)[manage.sort(people, by)]
    for i in range(len(values) - 2):
        away = np.linalg.norm(values[i + 1 :] - values[i], axis=1)
        assert away[0] == away.min()


def test_an_unknown_order_or_number_is_refused(people: FaceSet) -> None:
    with pytest.raises(SettingsError, match="choose one of blur"):
        manage.sort(people, "beauty")
    with pytest.raises(SettingsError, match="choose one of frame"):
        manage.choose(people, manage.Choice(bounds={"beauty": (1, None)}))


def test_leaders_are_those_of_the_definition() -> None:
    vectors = np.random.default_rng(0).random((1200, 2)) * 9
    order = np.random.default_rng(1).permutation(1200)
    found = likeness.leaders(vectors, order, 1.0)
    heads_so_far: list[int] = []
    for i in order:
        distance = np.linalg.norm(vectors[heads_so_far] - vectors[i], axis=1) if heads_so_far else np.array([np.inf])
        if distance.min() > 1:
            heads_so_far.append(int(i))
    assert set(found) == set(heads_so_far)
    assert (np.linalg.norm(vectors - vectors[found], axis=1) <= 1 + 1e-4).all()


def _noisy(who: int, seed: int, amount: float) -> Array:
    vector = np.eye(8)[who] + amount * np.random.default_rng(seed).normal(size=8)
    return vector / np.linalg.norm(vector)


def test_a_blurred_frame_does_not_make_another_person(tmp_path: Path) -> None:
    """The faces of a track stand together; photos, which have none, stand for themselves."""
    clip = [row(identity=_noisy(0, number, 0.4), source="c.mkv") for number in range(12)]
    photos = [row(identity=_noisy(who, 50 + who, 0.1), source=f"{who}.jpg", track="") for who in (0, 3, 3, 0)]
    who = likeness.people(make(tmp_path / "set", clip + photos))
    assert who[:12].tolist() == [0] * 12
    assert who[12:].tolist() == [0, 1, 1, 0]


# --- choices ---


def test_bounds_of_columns_and_blendshapes(people: FaceSet) -> None:
    rows = manage.choose(people, manage.Choice(bounds={"yaw": (-10, 20), "jawOpen": (None, 0.5)}))
    jaw = people.column("shapes")[:, expression.NAMES.index("jawOpen")]
    assert rows.tolist() == [i for i in range(30) if -10 <= people.column("yaw")[i] <= 20 and jaw[i] <= 0.5]


def test_wrong_people_and_repetitions_go(people: FaceSet) -> None:
    assert manage.choose(people, manage.Choice(one_person=True)).tolist() == list(range(21))
    assert manage.choose(people, manage.Choice(unique=1.0)).tolist() == [i for i in range(30) if i % 3 != 2]
    kept = manage.choose(people, manage.Choice(like=np.eye(8)[[5]]))
    assert kept.tolist() == list(range(21, 30))


def test_a_repetition_stays_where_its_original_is_left_out(people: FaceSet) -> None:
    sharp = people.column("sharpness")
    choice = manage.Choice(bounds={"sharpness": (None, float(sharp[2]))}, unique=1.0)
    assert sharp[1] > sharp[2]
    assert 2 in manage.choose(people, choice)


def test_the_best_are_spread_over_the_poses(people: FaceSet) -> None:
    rows = manage.choose(people, manage.Choice(best=8))
    assert len(rows) == 8
    bins = {(yaw // 10, pitch // 10) for yaw, pitch in zip(people.column("yaw"), people.column("pitch"), strict=True)}
    chosen = {(people.column("yaw")[i] // 10, people.column("pitch")[i] // 10) for i in rows}
    assert len(chosen) == min(8, len(bins))


def test_vectors_of_another_network_are_not_compared(people: FaceSet) -> None:
    stranger = FaceSet(people.folder, people.spec, people.format, {"identity": "other"}, people.table)
    with pytest.raises(InputError, match="another network"):
        manage.choose(stranger, manage.Choice(like=np.eye(8)[[5]]))


# --- new sets ---


def test_export_numbers_the_files_in_the_order(people: FaceSet, tmp_path: Path) -> None:
    order = manage.sort(people, "yaw")[:4]
    made = manage.export(people, order, tmp_path / "set")
    assert made.names == ["000001", "000002", "000003", "000004"]
    assert made.column("frame").tolist() == people.column("frame")[order].tolist()
    assert made.picture(0).read_bytes() == people.picture(int(order[0])).read_bytes()
    assert (made.mask(3) == people.mask(int(order[3]))).all()
    assert made.about == people.about


def test_filter_makes_a_set_or_says_that_nothing_is_left(people: FaceSet, tmp_path: Path) -> None:
    assert len(manage.filter(people, manage.Choice(one_person=True), tmp_path / "set")) == 21
    with pytest.raises(NoFaceError, match="ask for less"):
        manage.filter(people, manage.Choice(bounds={"score": (2, None)}), tmp_path / "none")
    assert left_over(tmp_path) == ["set"]


def test_merge_keeps_every_face_as_it_is(tmp_path: Path) -> None:
    a, b = make(tmp_path / "a", [row(), row(1)], form="jpg"), make(tmp_path / "b", [row(2)])
    both = manage.merge([a, b], tmp_path / "both")
    assert both.column("identity").argmax(axis=1).tolist() == [0, 1, 2]
    assert (both.rgb(0) == a.rgb(0)).all()
    assert (both.rgb(2) == b.rgb(0)).all()
    assert [part["set"] for part in both.about["merged"]] == ["a", "b"]


def test_sets_that_do_not_fit_are_not_merged(tmp_path: Path) -> None:
    a = make(tmp_path / "a", [row()])
    b = make(tmp_path / "b", [row()], spec=CropSpec("dfl_head", 32))
    with pytest.raises(InputError, match="another crop"):
        manage.merge([a, b], tmp_path / "both")
    c = FaceSet(a.folder, a.spec, a.format, {"identity": "other"}, a.table)
    with pytest.raises(InputError, match="another network"):
        manage.merge([a, c], tmp_path / "both")


def test_split_by_what_is_known(people: FaceSet, tmp_path: Path) -> None:
    made = manage.split(people, "source", [tmp_path / "set"])
    assert [faces.folder.name for faces in made] == ["set_2", "set_5"]
    made = manage.split(people, "person", [tmp_path / "a", tmp_path / "b"])
    assert [len(faces) for faces in made] == [21, 9]
    assert list(manage.parts(people, "track")) == ["2_T1", "5_T1"]


def test_a_share_is_taken_from_the_beginning_of_every_clip(people: FaceSet, tmp_path: Path) -> None:
    a, b = manage.split(people, 0.8, [tmp_path / "a", tmp_path / "b"])
    assert a.column("frame").tolist() == [*range(17), *range(21, 28)]
    assert b.column("frame").tolist() == [*range(17, 21), 28, 29]


def test_a_split_that_cannot_be_is_refused_before_anything_is_written(people: FaceSet, tmp_path: Path) -> None:
    make(tmp_path / "b", [row()])
    outs = [tmp_path / "a", tmp_path / "b"]
    refusals: list[tuple[str | float, list[Path], str]] = [
        ("person", outs, "exists"), ("person", [*outs, tmp_path / "c"], "has 2 parts"), ("beauty", outs, "choose source"),
        (1.5, outs, "between 0 and 1"), (0.001, outs, "empty"),
    ]  # fmt: skip
    for by, wanted, told in refusals:
        with pytest.raises(MienError, match=told):
            manage.split(people, by, wanted)
    assert left_over(tmp_path) == ["b"]


def test_a_set_in_plain_words(people: FaceSet) -> None:
    text = "\n".join(manage.lines(people))
    assert "30 faces, dfl_whole_face 32 px" in text
    assert "people: 2 (21, 9 faces); sources: 2" in text
    assert "warning: one" in text
