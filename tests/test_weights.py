"""Weight files: where they are found, that they are what their cards say, and that none can run code."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import pickle
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pytest
from safetensors.numpy import save_file

from mien import lists, weights
from mien.errors import WeightsError

PAYLOAD = b"pretend weights"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A package, a cache and a mirror of our own, with one card that can be fetched from a `file:` address."""
    places = {name: tmp_path / name for name in ("package", "cache/mien", "mirror", "web")}
    for folder in places.values():
        folder.mkdir(parents=True)
    (places["web"] / "w.onnx").write_bytes(PAYLOAD)
    card = {
        "name": "w",
        "file": "w.onnx",
        "sha256": hashlib.sha256(PAYLOAD).hexdigest(),
        "size": len(PAYLOAD),
        "licence": "CC0-1.0",
        "data": "none",
        "source": "this test",
        "url": (places["web"] / "w.onnx").as_uri(),
    }
    unfetchable = {**card, "name": "u", "file": "u.onnx", "url": ""}
    (places["package"] / "known.json").write_text(json.dumps([unfetchable]))
    (places["package"] / "w.card.json").write_text(json.dumps(card))
    monkeypatch.setattr(weights, "ASSETS", places["package"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return {name.split("/")[0]: folder for name, folder in places.items()}


def test_package_comes_before_cache_before_mirror(folders: dict[str, Path]) -> None:
    assert not weights.available("w", mirror=folders["mirror"])
    for place in ("mirror", "cache", "package"):
        (folders[place] / "w.onnx").write_bytes(PAYLOAD)
        assert weights.available("w", mirror=folders["mirror"])
        assert weights.find("w", mirror=folders["mirror"]) == folders[place] / "w.onnx"
    assert weights.cards()["w"].shipped
    assert not weights.cards()["u"].shipped


def test_nothing_is_fetched_unless_asked(folders: dict[str, Path]) -> None:
    with pytest.raises(WeightsError, match=r"allow fetching, or put w\.onnx"):
        weights.find("w")
    fetched = weights.find("w", fetch=True)
    assert fetched == folders["cache"] / "w.onnx"
    assert [path.name for path in folders["cache"].iterdir()] == ["w.onnx"]


@pytest.mark.parametrize("served", [b"something else", PAYLOAD * 1000, None])
def test_a_wrong_or_absent_address_leaves_nothing(folders: dict[str, Path], served: bytes | None) -> None:
    web = folders["web"] / "w.onnx"
    web.unlink() if served is None else web.write_bytes(served)
    with pytest.raises(WeightsError) as caught:
        weights.find("w", fetch=True)
    assert "\n" not in str(caught.value)
    assert not list(folders["cache"].iterdir())


def test_a_damaged_file_is_refused(folders: dict[str, Path]) -> None:
    (folders["mirror"] / "u.onnx").write_bytes(PAYLOAD[:-1])
    with pytest.raises(WeightsError, match="delete it"):
        weights.find("u", mirror=folders["mirror"])


@pytest.mark.parametrize("name", ["u", "unknown"])
def test_what_is_missing_is_said_in_one_line(folders: dict[str, Path], name: str) -> None:
    with pytest.raises(WeightsError, match=r"put u\.onnx|known: u, w") as caught:
        weights.find(name, fetch=True)
    assert "\n" not in str(caught.value)


def test_every_card_is_whole_and_every_shipped_file_is_what_its_card_says() -> None:
    known = weights.cards()
    assert {"yunet", "face_landmarker", "mobilefacenet"} <= set(known)
    for card in known.values():
        assert len(card.sha256) == 64
        assert card.licence
        assert card.data
        assert card.source
        if card.shipped:
            assert weights.find(card.name).stat().st_size == card.size


def test_every_shipped_weight_file_has_a_card() -> None:
    on_cards = {card.file for card in weights.cards().values()}
    shipped = {p.name for p in weights.ASSETS.rglob("*") if p.suffix in (".onnx", ".safetensors", ".tflite")}
    assert shipped <= on_cards


def test_the_real_files_are_found_in_a_mirror(shared: Path) -> None:
    for name in ("yunet", "face_landmarker", "mobilefacenet"):
        assert weights.find(name, mirror=shared / "weights").is_file()


def test_the_mirror_is_what_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MIEN_WEIGHTS", raising=False)
    assert weights.mirror_from_environment() is None
    monkeypatch.setenv("MIEN_WEIGHTS", str(tmp_path))
    assert weights.mirror_from_environment() == tmp_path


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": np.arange(6, dtype=np.float16).reshape(2, 3)}, path)
    assert weights.load_safetensors(path)["a"].shape == (2, 3)
    path.write_bytes(b"no such thing")
    with pytest.raises(WeightsError, match="get the file anew"):
        weights.load_safetensors(path)


# --- the one pickled kind of file ---


def _mtcnn() -> Path:
    spec = importlib.util.find_spec("mtcnn")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "assets/weights"


@pytest.mark.parametrize("name, count", [("pnet", 13), ("rnet", 16), ("onet", 21)])
def test_the_mtcnn_weights_are_read(name: str, count: int) -> None:
    arrays = lists.load_numpy_lists(_mtcnn() / f"{name}.lz4")
    assert len(arrays) == count
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays)
    assert 0.01 < max(float(array.std()) for array in arrays) < 10


class _Malicious:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call = (call, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("depth", [0, 1])
def test_a_malicious_pickle_runs_nothing(tmp_path: Path, protocol: int, depth: int) -> None:
    evidence = tmp_path / "evidence"
    evil: Any = _Malicious(os.mkdir, str(evidence))
    path = tmp_path / "evil.lz4"
    path.write_bytes(lz4.frame.compress(pickle.dumps([evil] if depth else evil, protocol)))
    with pytest.raises(WeightsError, match="not a readable list"):
        lists.load_numpy_lists(path)
    assert not evidence.exists()
    pickle.loads(lz4.frame.decompress(path.read_bytes()))
    assert evidence.exists(), "the file is malicious indeed"


@pytest.mark.parametrize(
    "content",
    [
        [np.array([None, 1], object)],
        {"a": 1},
        [[1]],
        ["text"],
        np.dtype("f4"),
        [_Malicious(np.ndarray, (3,))],
        [_Malicious(np.dtype, "O")],
    ],
)
def test_what_is_no_list_of_plain_arrays_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "other.lz4"
    path.write_bytes(lz4.frame.compress(pickle.dumps(content, 4)))
    with pytest.raises(WeightsError):
        lists.load_numpy_lists(path)


def test_damaged_lists_are_refused(tmp_path: Path) -> None:
    whole = (_mtcnn() / "pnet.lz4").read_bytes()
    plain = lz4.frame.decompress(whole)
    path = tmp_path / "cut.lz4"
    rng = np.random.default_rng(0)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            lists.load_numpy_lists(path)
    for length in rng.integers(1, len(plain), 50):
        path.write_bytes(lz4.frame.compress(plain[:length]))
        with pytest.raises(WeightsError):
            lists.load_numpy_lists(path)
    with pytest.raises(WeightsError):
        lists.load_numpy_lists(tmp_path / "missing.lz4")


def test_flipped_bytes_never_escape_as_another_error(tmp_path: Path) -> None:
    plain = lz4.frame.decompress((_mtcnn() / "pnet.lz4").read_bytes())
    path = tmp_path / "flipped.lz4"
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        damaged = bytearray(plain)
        damaged[rng.integers(0, 400)] = rng.integers(0, 256)
        path.write_bytes(lz4.frame.compress(bytes(damaged)))
        try:
            lists.load_numpy_lists(path)
        except WeightsError:
            refused += 1
    assert refused > 100
