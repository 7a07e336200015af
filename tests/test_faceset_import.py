"""Sets of DeepFaceLab and faceswap: their pickles are read and never run, their faces come over with what is known of them."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import portraits
from mien import analysis, geometry, picture
from mien.errors import InputError, MienError, NoFaceError
from mien.faces import align, topology
from mien.faceset import alignments, dfl, foreign, importing, plain
from mien.types import Array, Crop, CropSpec

SPEC = CropSpec("dfl_whole_face", 192)


# --- pickles ---


class _Runs:
    """An object whose pickle makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


VALUES: dict[str, Any] = {
    "text": "größer", "int": -3, "big": 1 << 40, "real": 0.5, "none": None, "yes": True, "no": False,
    "list": [1, 300, 2.5, [], ["a"]], "row": (1, (2, 3), ()), "long": list(range(200)) * 40, "reals": [0.5, 1e9] * 900,
    "array": np.arange(12, dtype=np.float32).reshape(3, 4), "columns": np.asfortranarray(np.eye(3)),
    "big end": np.arange(5, dtype=">i2"), "scalar": np.float64(2.5), "pair": [np.uint8([1, 2]), np.uint8([3])],
}  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_are_read_as_they_are(protocol: int) -> None:
    values = VALUES | {"bytes": b"\x00\xff" * 300}
    read = plain.read(pickle.dumps(values, protocol))
    assert read.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_equal(read[name], value)
    assert read["array"].dtype == np.float32
    assert read["columns"].flags.writeable


def _hostile(mark: Path) -> dict[str, bytes]:
    """Name -> a pickle that wants more than to be a value, or more memory than anybody has."""
    laughs = b"\x80\x04" + b"]\x94" + b"".join(b"]\x94(h" + bytes([i, 104, i]) + b"e" for i in range(40)) + b"."
    return {
        "reduce": pickle.dumps({"a": _Runs(mark)}),
        "reduce, protocol 2": pickle.dumps([_Runs(mark)], 2),
        "reduce, protocol 0": pickle.dumps(_Runs(mark), 0),
        "global": b"\x80\x02cbuiltins\neval\n.",
        "a name by hand": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.",
        "a name alone": b"\x80\x04cnumpy\nndarray\n.",
        "instance": b"\x80\x02(cos\nsystem\nis.",
        "persistent": b"\x80\x02K\x01Q.",
        "extension": b"\x80\x02\x82\x01.",
        "numpy calls": b"\x80\x04cnumpy\nndarray\nK\x05\x85R.",
        "objects": pickle.dumps(np.array([{}, mark], object)),
        "path": pickle.dumps({"source": mark}),
        "set": pickle.dumps({1, 2}),
        "unknown protocol": b"\x80\x09N.",
        "truncated": pickle.dumps(VALUES)[:-200],
        "empty": b"",
        "no value": b".",
        "a mark alone": b"(.",
        "below the mark": b"\x80\x04]K\x01(a.",
        "long text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"abc.",
        "lies of its shape": pickle.dumps(np.zeros(4)).replace(b"K\x04\x85", b"K\x7f\x85"),
        "dict of lists": b"\x80\x04}]K\x01s.",
        "a memo never made": b"\x80\x04h\x05.",
        "appends to nothing": b"\x80\x04K\x01a.",
        "much memory": b"\x80\x04(" + b"]" * 300_000 + b"l.",
        "laughs, then a call": laughs[:-1] + b"cos\nsystem\n.",
    }


def test_what_is_more_than_values_is_refused_and_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "run"
    for name, data in _hostile(mark).items():
        with pytest.raises(ValueError, match=r".") as caught:
            plain.read(data, budget=1 << 24)
        assert "\n" not in str(caught.value), name
    assert not mark.exists()


def test_nesting_and_sharing_cost_nothing() -> None:
    deep = plain.read(b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b".")
    tower = plain.read(b"\x80\x04)\x94" + b"".join(b"h" + bytes([i, 104, i]) + b"\x86\x94" for i in range(200)) + b".")
    itself = plain.read(b"\x80\x04]\x94h\x00a.")
    assert type(deep) is list
    assert all(foreign.numbers(value, 2) is None for value in (deep, tower, itself, [tower, tower]))


# --- faces as the programs write them ---


@dataclass(frozen=True)
class _Shot:
    """A frame with a face, and that face cut out."""

    frame: Array
    points: Array
    crop: Crop


@pytest.fixture(scope="module")
def shots() -> list[_Shot]:
    """Two people's frames."""
    finder, found = analysis.Settings().finder(), []
    for frame in (portraits.astronaut()[:300, 80:400], picture.load(portraits.composite(3)).rgb()):
        pixels = picture.Picture(np.ascontiguousarray(frame))
        face = finder.find(pixels)[0]
        found.append(_Shot(pixels.array, face.points, align.crop(pixels, face, SPEC)))
    return found


def _jpeg(rgb: Array, app15: bytes = b"") -> bytes:
    data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 97])[1].tobytes()
    return data[:2] + (b"\xff\xef" + struct.pack(">H", len(app15) + 2) + app15 if app15 else b"") + data[2:]


def _dfl(shot: _Shot, **more: Any) -> dict[str, Any]:
    return {
        "face_type": "whole_face", "landmarks": topology.to_68(shot.crop.points)[:, :2].tolist(),
        "source_filename": "00041.png", "source_rect": [10, 20, 30, 40],
        "source_landmarks": topology.to_68(shot.points)[:, :2].tolist(),
        "image_to_face_mat": geometry.invert(shot.crop.to_frame), "eyebrows_expand_mod": 1.0,
    } | more  # fmt: skip


def test_a_deepfacelab_set_comes_over(tmp_path: Path, shots: list[_Shot]) -> None:
    folder = tmp_path / "aligned"
    folder.mkdir()
    left = np.zeros((64, 64), np.uint8)
    left[:, :32] = 255
    square = np.float32([[40, 40], [150, 40], [150, 150], [40, 150]])
    hole = {"type": 0, "pts": square / 4 + 60}
    said = [
        _dfl(shots[0], xseg_mask=cv2.imencode(".png", left)[1]),
        _dfl(shots[1], seg_ie_polys={"polys": [hole, {"type": 1, "pts": square}]}, source_filename="b.png"),
    ]
    for number, (shot, values) in enumerate(zip(shots, said, strict=True)):
        (folder / f"{number}.jpg").write_bytes(_jpeg(shot.crop.rgb, pickle.dumps(values, 3)))
    (folder / "2.jpg").write_bytes(_jpeg(shots[0].crop.rgb, pickle.dumps(said[0])[:900]))
    (folder / "3.jpg").write_bytes(_jpeg(shots[0].crop.rgb))
    told: list[tuple[str, int, int]] = []
    faces = importing.import_set(folder, tmp_path / "set", lambda *step: told.append(step))
    assert (len(faces), faces.spec) == (2, SPEC)
    assert told[-1] == ("import", 2, 2)
    assert faces.column("source").tolist() == ["00041.png", "b.png"]
    assert faces.column("frame").tolist() == [41, 0]
    assert [w for w in faces.about["warnings"] if "2.jpg is damaged" in w]
    for i, shot in enumerate(shots):
        in_frame = geometry.apply(faces.column("to_frame")[i], faces.points(i).astype(np.float64))
        size = np.ptp(shot.points[:, 0])
        assert np.abs(in_frame[:, :2] - shot.points[:, :2]).mean() < 0.02 * size
        assert abs(faces.column("yaw")[i] - align.pose(shot.points).yaw) < 3
        assert np.abs(faces.rgb(i).astype(int) - shot.crop.rgb).mean() < 12
    half = faces.mask(0)
    assert half[:, :80].mean() > 200
    assert half[:, 112:].mean() == 0
    hand = faces.mask(1)
    assert hand[45:60, 60:140].mean() > 200
    assert hand[78:90, 78:90].mean() == 0


@pytest.mark.parametrize("kind, template, margin", [("head", "dfl_head", 1.0), ("half_face", "dfl_full", 0.7033)])
def test_the_crop_follows_the_kind_of_face(kind: str, template: str, margin: float, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(_jpeg(np.zeros((256, 256, 3), np.uint8)))
    spec = importing._spec(importing._Found({path: [foreign.Labelled("", 0, kind)]}), importing.Settings())
    assert (spec.template, spec.size, round(spec.margin, 4)) == (template, 256, margin)


def test_a_hostile_picture_stops_the_import(tmp_path: Path, shots: list[_Shot]) -> None:
    folder, mark = tmp_path / "aligned", tmp_path / "run"
    folder.mkdir()
    (folder / "0.jpg").write_bytes(_jpeg(shots[0].crop.rgb, pickle.dumps(_dfl(shots[0]))))
    (folder / "1.jpg").write_bytes(_jpeg(shots[0].crop.rgb, pickle.dumps(_dfl(shots[0], more=_Runs(mark)))))
    with pytest.raises(foreign.HostileError, match=r"1\.jpg holds a pickle .*'posix.system'.* nothing of it was run"):
        importing.import_set(folder, tmp_path / "set")
    assert not mark.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["aligned"]


def _write(name: str, data: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder

    return write


def _old_png(folder: Path) -> Path:
    png = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    (folder / "0.png").write_bytes(png[:33] + struct.pack(">I", 3) + b"fcWpabc\0\0\0\0" + png[33:])
    return folder


@pytest.mark.parametrize(
    "make, line",
    [
        (lambda folder: folder / "nowhere", "does not exist"),
        (lambda folder: folder, "no picture of .* cut faces out of plain pictures with `mien extract`"),
        (_write("faceset.pak", b"\x01"), "unpack it with DeepFaceLab"),
        (_write("a.jpg", b"\xff\xd8\xff"), "no picture of .*a.jpg is damaged"),
        (_write("a.jpg", b""), "no picture"),
        (_old_png, "PNG of an old DeepFaceLab"),
        (lambda folder: _write("x.txt", b"")(folder) / "x.txt", "is no file of alignments"),
        (lambda folder: _write("x.fsa", b"abc")(folder) / "x.fsa", "no readable alignments file"),
        (lambda folder: _write("x.fsa", zlib.compress(b"\x80\x04]."))(folder) / "x.fsa", "lists no frames"),
        (lambda folder: _write("x.fsa", zlib.compress(pickle.dumps(VALUES))[:90])(folder) / "x.fsa", "ends early"),
        (lambda folder: _write("x.fsa", zlib.compress(b"\x80\x04cos\nsystem\n."))(folder) / "x.fsa", "'os.system'"),
        (lambda folder: _write("x.json", b"[" * 100_000)(folder) / "x.json", "nested too deeply"),
        (lambda folder: _write("x.json", b'{"a.png": {"faces": []}}')(folder) / "x.json", "tells of no face"),
        (
            lambda folder: _write("x.json", b'{"a.png": [{"x":1,"y":1,"w":9,"h":9}]}')(folder) / "x.json",
            "with --frames",
        ),
    ],
)
def test_what_is_no_set_is_refused_in_a_line(make: Callable[[Path], Path], line: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(InputError, match=line) as caught:
        importing.import_set(make(folder), tmp_path / "set")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def _faceswap(shot: _Shot, **more: Any) -> dict[str, Any]:
    """One face of faceswap's alignments; its mask shows the left half of the crop."""
    x0, y0, x1, y1 = map(int, align.box(shot.points))
    half = np.zeros((64, 64, 1), np.uint8)
    half[:, :32] = 255
    to_mask = geometry.chain(geometry.invert(shot.crop.to_frame), np.array([[1 / 3, 0, 0], [0, 1 / 3, 0]]))
    stored = {"affine_matrix": to_mask, "interpolator": 2, "stored_size": 64, "stored_centering": "face"}
    return {
        "x": x0, "y": y0, "w": x1 - x0, "h": y1 - y0, "landmarks_xy": topology.to_68(shot.points)[:, :2].astype("f4"),
        "mask": {"components": {}, "bisenet-fp_face": stored | {"mask": zlib.compress(half.tobytes())}},
        "identity": {"vggface2": [0.5] * 512}, "thumb": np.arange(100, dtype=np.uint8),
    } | more  # fmt: skip


def _check_half(mask: Array) -> None:
    assert mask[40:150, :85].mean() > 240
    assert mask[40:150, 108:].mean() < 15


def test_alignments_find_their_frames(tmp_path: Path, shots: list[_Shot]) -> None:
    said = {f"f_{i}.png": {"faces": [_faceswap(shot)], "video_meta": {}} for i, shot in enumerate(shots)}
    for shot, name in zip(shots, said, strict=True):
        cv2.imwrite(str(tmp_path / name), shot.frame[..., ::-1])
    data = pickle.dumps({"__meta__": {"version": 2.4}, "__data__": said})
    (tmp_path / "alignments.fsa").write_bytes(zlib.compress(data))
    settings = importing.Settings(size=192)
    faces = importing.import_set(tmp_path, tmp_path / "set", settings=settings)
    assert faces.column("source").tolist() == list(said)
    for i, shot in enumerate(shots):
        assert np.abs(faces.rgb(i).astype(int) - shot.crop.rgb).mean() < 6
        _check_half(faces.mask(i))
    natural = importing.import_set(tmp_path / "alignments.fsa", tmp_path / "own size")
    assert natural.spec.template == "dfl_whole_face"
    assert natural.spec.size == 320


def test_alignments_speak_of_a_clip(tmp_path: Path, moving: Path) -> None:
    face = analysis.Settings().finder().find(picture.Picture(portraits.view(3)))[0]
    points = topology.to_68(face.points)[:, :2].tolist()
    box = dict(zip("xywh", (0, 0, 50, 50), strict=True))
    said = {"clip_000004.png": {"faces": [box | {"landmarks_xy": points}, box]}, "clip_000001.png": {"faces": []}}
    (tmp_path / "clip_alignments.json").write_text(json.dumps({"__data__": said}))
    settings = importing.Settings(frames=moving)
    faces = importing.import_set(tmp_path / "clip_alignments.json", tmp_path / "set", settings=settings)
    assert faces.column("source").tolist() == ["clip.mp4"]
    assert faces.column("frame").tolist() == [3]
    assert faces.about["warnings"] == ["the face that clip_000004.png should show was not found again"]
    assert align.pose(face.points).yaw == pytest.approx(float(faces.column("yaw")[0]), abs=3)


def test_an_extracted_png_of_faceswap_comes_over(tmp_path: Path, shots: list[_Shot]) -> None:
    shot = shots[0]
    head = align.crop(picture.Picture(shot.frame), align.face(shot.points, 1.0), CropSpec("dfl_head", 256, 1.1))
    face = {key: value for key, value in _faceswap(shot).items() if key not in ("thumb", "landmarks_xy")}
    face["landmarks_xy"] = topology.to_68(shot.points)[:, :2].tolist()
    face["mask"]["bisenet-fp_face"]["affine_matrix"] = face["mask"]["bisenet-fp_face"]["affine_matrix"].tolist()
    text = repr({"alignments": face, "source": {"source_filename": "clip_000012.png", "face_index": 0}})
    png = cv2.imencode(".png", head.rgb[..., ::-1])[1].tobytes()
    folder = tmp_path / "faces"
    folder.mkdir()
    (folder / "0.png").write_bytes(_with_text(png, text))
    faces = importing.import_set(folder, tmp_path / "set", settings=importing.Settings(size=192))
    assert faces.column("source").tolist() == ["clip_000012.png"]
    assert faces.column("frame").tolist() == [12]
    in_frame = geometry.apply(faces.column("to_frame")[0], faces.points(0).astype(np.float64))
    assert np.abs(in_frame[:, :2] - shot.points[:, :2]).mean() < 0.02 * np.ptp(shot.points[:, 0])
    _check_half(faces.mask(0))
    for bad in ("[" * 100_000, "-" * 100_000 + "1", "__import__('os').system('x')", "{'alignments': open('x')}", "\0"):
        (folder / "0.png").write_bytes(_with_text(png, bad))
        with pytest.raises(MienError, match="no picture of"):
            importing.import_set(folder, tmp_path / "other")


def _with_text(png: bytes, text: str) -> bytes:
    content = b"iTXt" + b"faceswap\0\0\0\0\0" + text.encode()
    return png[:33] + struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content)) + png[33:]


def test_a_face_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(
        _jpeg(
            np.full((128, 128, 3), 90, np.uint8), pickle.dumps({"face_type": "full_face", "landmarks": [[9, 9]] * 68})
        )
    )
    with pytest.raises(NoFaceError, match=r"a\.jpg should show was not found again"):
        importing.import_set(tmp_path, tmp_path / "set")


def test_labels_hold_nothing_odd(tmp_path: Path) -> None:
    odd = {"face_type": 3, "landmarks": [[1, "a"]] * 68, "image_to_face_mat": np.zeros((2, 3)), "source_filename": [[]]}
    for masks in ({"xseg_mask": b"no picture"}, {"seg_ie_polys": [3, None, (1, "x")]}, {"seg_ie_polys": 7}):
        (tmp_path / "7.jpg").write_bytes(_jpeg(np.zeros((64, 64, 3), np.uint8), pickle.dumps(odd | masks)))
        found = dfl.read(tmp_path / "7.jpg")
        assert found == foreign.Labelled("7.jpg", 7, "")
    (tmp_path / "a.json").write_text('{"a": {"faces": [1, {"x": "b"}, {"landmarks_xy": [[1, 2]]}]}, "b": 3, "c": null}')
    assert alignments.read(tmp_path / "a.json") == {"a": [], "b": [], "c": []}
