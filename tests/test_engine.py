"""Every shipped network gives the same answer in every engine, and the choice among them is measured once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from mien import weights
from mien.errors import SettingsError, WeightsError
from mien.nets import engine, engines
from mien.nets.graph import Graph
from mien.types import Array

NETWORKS = sorted(name for name, card in weights.cards().items() if card.shipped and card.file.endswith(".onnx"))

GATED = [name for name in NETWORKS if weights.cards()[name].gate]


def feed_of(network: engines.Network, batch: int = 1) -> dict[str, Array]:
    """What every network can read, `batch` times over where its file allows that."""
    return {n: np.repeat(engine.probe(n, s), 1 if s[0] else batch, axis=0) for n, s in network.inputs.items()}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("other", ["openvino", "torch"])
def test_engines_agree(name: str, other: str) -> None:
    path = weights.find(name)
    default, network = engine.load(path, engine=engine.DEFAULT), engine.load(path, engine=other)
    assert network.engine == other
    assert network.outputs == default.outputs
    assert network.inputs == default.inputs
    feed = feed_of(default, batch=2)
    for ours, exact in zip(network.run(feed), default.run(feed), strict=True):
        assert ours.shape == exact.shape
        np.testing.assert_allclose(ours, exact, atol=2e-3 * max(1.0, float(np.abs(exact).max()) / 10))


def test_some_cards_admit_a_lower_precision() -> None:
    assert {"identity", "parsing"} <= set(GATED) < set(NETWORKS)


@pytest.mark.parametrize("name", GATED)
def test_lower_precision_keeps_within_the_gate(name: str) -> None:
    gate = weights.cards()[name].gate
    path = weights.find(name)
    default, network = engine.load(path, engine=engine.DEFAULT), engine.load(path, engine="openvino-bf16")
    feed = feed_of(default)
    for output, ours, exact in zip(default.outputs, network.run(feed), default.run(feed), strict=True):
        assert np.abs(ours - exact).max() <= gate.get(output, 0.0)


@pytest.mark.parametrize("name", engines.installed())
def test_answers_are_not_overwritten_by_the_next_run(name: str) -> None:
    network = engine.load(weights.find("mesh"), engine=name)
    feed = feed_of(network)
    first = network.run(feed)[0]
    before = first.copy()
    network.run({key: value * 0 for key, value in feed.items()})
    np.testing.assert_array_equal(first, before)


def test_the_choice_is_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = weights.find("mesh")
    first = engine.chosen(path)
    kept = json.loads((tmp_path / "mien" / engine.CHOICES).read_text())
    assert list(kept.values()) == [first]
    monkeypatch.setattr(engine, "measure", lambda *_: pytest.fail("measured twice"))
    assert engine.chosen(path) == first
    assert engine.shipped("mesh").engine == engine.chosen(path, gate=weights.cards()["mesh"].gate)


def test_nothing_is_measured_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(engine, "measure", lambda *_: pytest.fail("measured"))
    assert engine.chosen(weights.find("mesh")) == engine.DEFAULT


def test_a_damaged_cache_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "mien").mkdir()
    (tmp_path / "mien" / engine.CHOICES).write_text("[1, ")
    monkeypatch.setattr(engine, "measure", lambda *_: {engine.DEFAULT: 1.0, "torch": 0.5})
    assert engine.chosen(weights.find("mesh")) == "torch"


def test_an_engine_that_nobody_knows_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(engine, "measure", lambda *_: {engine.DEFAULT: 1.0, "torch": 0.5})
    path, kept = weights.find("mesh"), tmp_path / "mien" / engine.CHOICES
    engine.chosen(path)
    kept.write_text(kept.read_text().replace("torch", "abacus"))
    assert engine.chosen(path) == "torch"


@pytest.mark.parametrize("name", engines.installed())
def test_several_threads_may_ask(name: str) -> None:
    network = engine.load(weights.find("parsing"), engine=name)
    (key,) = network.inputs
    feeds = [
        {key: engine.probe(key, network.inputs[key]) * share} for share in np.linspace(0.2, 1, 8, dtype=np.float32)
    ]
    alone = [network.run(feed)[0] for feed in feeds]
    with ThreadPoolExecutor(4) as pool:
        for together, one in zip(pool.map(network.run, feeds * 3), alone * 3, strict=True):
            np.testing.assert_array_equal(together[0], one)


def test_a_little_faster_is_not_worth_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(engine, "measure", lambda *_: {engine.DEFAULT: 1.0, "torch": 0.95})
    assert engine.chosen(weights.find("mesh")) == engine.DEFAULT


def test_a_gate_that_nothing_passes_leaves_full_precision() -> None:
    path = weights.find("mesh")
    assert "openvino-bf16" in engine.measure(path, gate={"points": 1e3, "presence": 1e3})
    assert "openvino-bf16" not in engine.measure(path, gate={"points": 1e3, "presence": 1e-9})
    assert "openvino-bf16" not in engine.measure(path)


def test_unknown_engines_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no engine is called"):
        engine.load(weights.find("mesh"), engine="abacus")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    for name in engines.installed():
        with pytest.raises(WeightsError, match="get it anew"):
            engine.load(broken, engine=name)


def test_a_graph_passes_gradients_and_moves_with_its_weights() -> None:
    graph = Graph(weights.find("mesh")).double()
    crop = torch.zeros(1, 3, 128, 128, dtype=torch.double, requires_grad=True)
    points, _ = graph(crop=crop)
    points.square().sum().backward()
    assert crop.grad is not None
    assert crop.grad.abs().sum() > 0
