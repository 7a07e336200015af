"""The benchmark of systems of one photo: who is found, what a system that changes nothing scores, who is swapped with whom."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import portraits
import tiny
from mien import analysis, provenance
from mien.errors import SettingsError
from mien.evaluate import identity
from mien.evaluate.protocols import View, table
from mien.evaluate.protocols.make import Made, Maker
from mien.faces import steady
from scores import benchmark

oneshot = benchmark("oneshot")
pairs, heldout, clips = (oneshot.sys.modules[name] for name in ("oneshot_pairs", "heldout", "oneshot_clips"))
PEOPLE = 4


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> heldout.Set:
    """Faces of nobody; the second photo of each is the first once more."""
    folder = tmp_path_factory.mktemp("photos")
    views = []
    for number in range(1, PEOPLE + 3):
        for name in ("a", "b"):
            shutil.copy(portraits.composite(number), folder / f"{number}{name}.jpg")
            views.append(View(f"{number}{name}.jpg", f"person {number}"))
    own = tuple(zip(views[: 2 * PEOPLE : 2], views[1 : 2 * PEOPLE : 2], strict=True))
    return heldout.Set(folder, own, tuple(views[2 * PEOPLE :]))


@pytest.fixture(scope="module")
def bench(held: heldout.Set, tmp_path_factory: pytest.TempPathFactory) -> pairs.Bench:
    """Judged by our own network, which is always here."""
    [judge] = identity.judges(("mien",))
    maker = Maker(held.folder, analysis.Settings().finder())
    return pairs.Bench(
        held.protocol(2, "mien"), maker, judge, held.gallery(sources=False), tmp_path_factory.mktemp("home")
    )


def test_sources_and_targets_take_turns(held: heldout.Set) -> None:
    whole = held.protocol(100, "mien")
    assert len(set(whole.of("swap"))) == PEOPLE * (PEOPLE - 1)
    assert len(whole.of("self")) == PEOPLE
    first = held.protocol(PEOPLE, "mien").of("swap")
    assert whole.of("swap")[:PEOPLE] == first
    assert len({pair.source for pair in first}) == len({pair.target for pair in first}) == PEOPLE
    read = {pair.source for pair in whole.of("swap")}
    assert read <= set(whole.gallery)
    assert not read & set(held.gallery(sources=False))
    assert {view.person for view in whole.gallery} == {view.person for view in held.gallery(sources=False)}


def test_sources_themselves_are_found(bench: pairs.Bench) -> None:
    for pair in bench.protocol.of("swap"):
        source, target = bench.maker.see(pair.source), bench.maker.see(pair.target)
        found = bench.figures(Made(pair, source, target, source))
        assert found["top1"] == found["top1.other"] == 100
        assert found["id_source"] == pytest.approx(1)
        assert found["id_gap"] > 0.2


def test_a_system_that_changes_nothing(bench: pairs.Bench, tmp_path: Path) -> None:
    pair = bench.protocol.of("swap")[0]
    copy = pairs.parse("copy")
    found = bench.figures(bench.make(copy, pair.source, pair.target, tmp_path))
    assert found["id_gap"] < -0.2
    assert found["top1"] == found["top1.other"] == 0
    assert found["pose"] < 0.3  # the mark in the luma is there all the same
    itself = bench.figures(bench.make(copy, pair.target, pair.target, tmp_path))
    assert itself["psnr"] > 40
    assert "id_gap" not in itself


def test_what_does_not_come_off_is_found_by_nobody(bench: pairs.Bench, tmp_path: Path) -> None:
    pair = bench.protocol.of("swap")[0]
    made = bench.make(pairs.parse("simswap"), pair.source, pair.target, tmp_path)  # its weights are not named
    assert made.failed is not None
    assert made.failed.startswith("refused: ")
    assert bench.figures(made) == {"top1": 0.0, "top1.other": 0.0}


def test_options_of_systems() -> None:
    file = tiny.weights("mien_s")
    entry = pairs.parse(f"mien_s:weights={file}:strength=0.5")
    assert (entry.system, entry.label) == ("mien_s", f"mien_s weights={file.stem} strength=0.5")
    assert entry.options == {"weights": str(file), "strength": 0.5}
    assert any(f"sha256 {provenance.sha256(file)[:12]}" in line for line in oneshot.notes(entry, []))
    for wrong in ("warp:photo", "warp:photo=1", "nobody"):
        with pytest.raises(SettingsError):
            pairs.parse(wrong)


def test_what_is_not_known_is_a_dash() -> None:
    text = oneshot.markdown(
        {"one": {"swap/pose": table.Cell(1.234, None, 3)}, "two": {}}, {"swap": 4, "self": 1, "clip": 0, "speed": 0}
    )
    assert "| pose, degrees ↓ | < 3 | 4 | 1.23 (3) | – |" in text
    assert text.count("\n") == len(oneshot.LINES) + 1


def test_smoothing_is_off_only_while_asked() -> None:
    raw = np.tile(np.eye(2, 3), (20, 1, 1))
    raw[:, :, 2] += np.random.default_rng(0).normal(0, 1, (20, 2))
    frames, cuts = np.arange(20), np.zeros(0, int)
    with clips.unsmoothed():
        assert np.array_equal(steady.anchors(frames, raw, cuts).smooth, raw)
    assert np.abs(steady.anchors(frames, raw, cuts).smooth - raw).max() > 0.1


def test_sheet(bench: pairs.Bench, held: heldout.Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "SHOWN", 1)
    page = pairs.sheet(bench, pairs.parse("copy"), held.own, tmp_path)
    side = pairs.TILE
    assert page.shape == (2 * side, 2 * side, 3)
    drawn, target = page[side:, side:], page[:side, side:]
    assert np.abs(drawn.astype(int) - target).mean() < 3, "a copied target"
