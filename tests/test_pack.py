"""A pack of the bank's faces, written and read; damaged ones are refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import portraits
from mien import image, pack, picture
from mien.errors import InputError, OutputError
from mien.types import Array, Pose

SIDE = 96
SOURCES = (pack.Source("bank", "Apache-2.0", "nobody"), pack.Source("other", "CC0-1.0", "nobody either"))


def faces(count: int = 6) -> list[Array]:
    return [image.resize(picture.load(portraits.composite(i + 1)).rgb(), (SIDE, SIDE)) for i in range(count)]


def items() -> list[pack.Item]:
    """Three people, each with a photo and what was made from it; the last one is held out."""
    chance = np.random.default_rng(0)
    out = []
    for i, rgb in enumerate(faces()):
        vector = chance.normal(size=128)
        points = chance.uniform(-20, SIDE + 20, (478, 2))
        split = pack.HELD_OUT if i // 2 == 2 else pack.TRAIN
        vector /= np.linalg.norm(vector)
        out.append(pack.Item(pack.encode(rgb), points, i // 2, i - i % 2, Pose(i, -i, 0.5), vector, split, i % 2))
    return out


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "some" / "faces.safetensors"
    pack.write(file, items(), SOURCES, SIDE, {"command": "a test", "identity": "abc"})
    return file


def test_what_is_written_is_read(path: Path) -> None:
    found, put = pack.read(path, SIDE, threads=1), items()
    for i, rgb in enumerate(faces()):
        assert np.abs(found.rgb[i].numpy().transpose(1, 2, 0).astype(int) - rgb).mean() < 4, "JPEG, in RGB"
    np.testing.assert_allclose(found.points.numpy(), [one.points for one in put], atol=0.5 / pack.FRACTION + 1e-4)
    np.testing.assert_allclose(found.identity.numpy(), [one.identity for one in put], atol=1e-3)
    assert found.person.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.origin.tolist() == [0, 0, 2, 2, 4, 4]
    assert found.split.tolist() == [0, 0, 0, 0, 1, 1]
    assert found.source.tolist() == [0, 1, 0, 1, 0, 1]
    assert found.pose[3].tolist() == [3, -3, 0.5]
    assert found.sources == SOURCES
    assert found.about == {"command": "a test", "identity": "abc"}
    torch.testing.assert_close(found.identity.norm(dim=1), torch.ones(6))


def test_pictures_and_points_shrink_alike(path: Path) -> None:
    whole, half = pack.read(path, SIDE), pack.read(path, SIDE // 2)
    assert half.rgb.shape == (6, 3, SIDE // 2, SIDE // 2)
    assert half.rgb.dtype == torch.uint8
    blocks = torch.nn.functional.avg_pool2d(whole.rgb.float(), 2)
    assert (blocks - half.rgb).abs().max() <= 1
    torch.testing.assert_close((whole.points + 0.5) / 2 - 0.5, half.points)


def test_the_pack_in_one_line(path: Path) -> None:
    told = pack.read(path, 32).describe()
    assert told == "6 pictures of 32 px: 3 photos and 3 variants of 3 people; held out: 2 of 1 people"


def test_its_size_is_known_before(path: Path) -> None:
    known = sum(pack.size_of(one.jpeg) for one in items())
    assert known <= path.stat().st_size < known + 4096


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _header(path: Path) -> None:
    path.write_bytes(b"no pack at all, but long enough to be looked at")


def _missing(path: Path) -> None:
    path.unlink()


def _foreign(path: Path) -> None:
    save_file({"weight": np.zeros(3, np.float32)}, path)


def _changed(path: Path, **arrays: Array | None) -> None:
    told = {"format": pack.FORMAT, "side": str(SIDE), "sources": "[]"}
    kept = {name: array for name, array in (load_file(path) | arrays).items() if array is not None}
    save_file(kept, path, metadata=told)


def _no_points(path: Path) -> None:
    _changed(path, points=None)


def _wrong_shape(path: Path) -> None:
    _changed(path, pose=np.zeros((6, 2), np.float16))


def _beyond(path: Path) -> None:
    _changed(path, ends=load_file(path)["ends"] + 1)


def _no_such_photo(path: Path) -> None:
    _changed(path, origin=np.full(6, 6, np.int32))


def _no_jpeg(path: Path) -> None:
    _changed(path, jpeg=np.zeros_like(load_file(path)["jpeg"]))


def _no_sources(path: Path) -> None:
    save_file(load_file(path), path, metadata={"format": pack.FORMAT, "side": str(SIDE)})


def _no_side(path: Path) -> None:
    save_file(load_file(path), path, metadata={"format": pack.FORMAT, "side": "x", "sources": "[]"})


SPOILT = (
    _cut, _header, _missing, _foreign, _no_points, _wrong_shape, _beyond, _no_such_photo, _no_jpeg, _no_sources, _no_side,
)  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_a_damaged_pack_is_refused(path: Path, spoil: object) -> None:
    assert callable(spoil)
    spoil(path)
    with pytest.raises(InputError) as refused:
        pack.read(path, 32, threads=1)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(OutputError, match="can't be written"):
        pack.write(tmp_path / "file" / "faces.safetensors", items(), SOURCES, SIDE, {})
