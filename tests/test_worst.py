"""Bad frames are found, in the right order, for the right reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import scores
from mien.evaluate import metrics, verdict, worst

LEVELS = {
    "pose": 1.2,
    "expression": 0.01,
    "seam": 1.2,
    "sharpness": 0.95,
    "jump": 0.4,
    "id_source.mien": 0.4,
    "colour_gap": 0.5,
}


def _track(seed: int, many: int = 120) -> dict[str, np.ndarray]:
    """Figures as a good swap has them: they drift a little and are noisy."""
    rng = np.random.default_rng(seed)
    drift = np.sin(np.arange(many) / 17 + rng.uniform(0, 6))
    return {
        name: level + metrics.of_column(name).step * (0.3 * drift + 0.12 * rng.normal(size=many))
        for name, level in LEVELS.items()
    }


@pytest.mark.parametrize("seed", range(6))
def test_planted_frames_come_first(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    columns = _track(seed)
    planted = {}
    for frame in rng.choice(120, 10, replace=False).tolist():
        name = str(rng.choice(list(LEVELS)))
        metric = metrics.of_column(name)
        away = rng.uniform(2, 5) * metric.step
        if metric.better == "one":
            columns[name][frame] *= 2 ** (-away)
        else:
            columns[name][frame] += -away if metric.better == "higher" else away
        planted[frame] = name
    ranked = worst.ranked(scores.made(scores.track(columns)))[:12]
    found = {bad.frame: bad.column for bad in ranked if bad.frame in planted}
    assert len(found) >= 9
    assert sum(planted[frame] == column for frame, column in found.items()) >= len(found) - 1


def test_a_good_clip_has_no_bad_frames() -> None:
    assert len(worst.ranked(scores.made(scores.track(_track(3))))) <= 1


def test_a_change_for_the_better_is_no_fault() -> None:
    columns = _track(1)
    columns["pose"][40] = 0.0
    columns["id_source.mien"][40] = 0.95
    assert 40 not in {bad.frame for bad in worst.ranked(scores.made(scores.track(columns)))}


def test_what_was_left_or_lost_comes_first_and_says_why() -> None:
    columns = _track(2)
    columns["seam"][70] += 9
    track = scores.track(columns, left={5: "extreme pose", 6: "extreme pose"}, lost=(30,))
    ranked = worst.ranked(scores.made(track))
    assert [bad.frame for bad in ranked[:4]] == [5, 6, 30, 70]
    assert ranked[0].reason == "left unswapped: extreme pose"
    assert "no face" in ranked[2].reason
    assert "edge" in ranked[3].reason


def test_neighbours_with_one_reason_are_one_entry() -> None:
    columns = _track(2)
    columns["seam"][70:73] += (5, 9, 4)
    columns["sharpness"][90] = 0.3
    entries = worst.entries(worst.ranked(scores.made(scores.track(columns))))
    assert [(e.worst.frame, e.frames) for e in entries[:2]] == [(71, (70, 71, 72)), (90, (90,))]
    assert entries[1].worst.reason == "blurred (0.30, usually 0.96)"


def test_a_jump_blames_the_frame_and_not_its_neighbours() -> None:
    columns = _track(5) | {"flicker": np.zeros(120), "tof": np.full(120, 0.2)}
    columns["flicker"][[50, 51]] = 14.0  # into the bad frame and out of it again
    columns["tof"][[50, 51]] = 6.0
    assert [bad.frame for bad in worst.ranked(scores.made(scores.track(columns)))] == [50]


def test_ten_frames_spoiled_in_a_clip_are_found(session_tmp: Path) -> None:
    score, marks = scores.spoiled(session_tmp)
    ranked = worst.ranked(score)[:12]
    missed = {frame: how for frame, how in marks.items() if frame not in {bad.frame for bad in ranked}}
    assert len(missed) <= 1, f"not in the top 12: {missed}"
    left = {frame for frame, (kind, _) in marks.items() if kind == "unswapped"}
    assert left
    assert left <= {bad.frame for bad in ranked if bad.column == worst.LEFT}


def test_the_clip_before_it_was_spoiled_is_called_good(session_tmp: Path) -> None:
    assert len(worst.ranked(scores.scored(session_tmp))) <= 4
    assert len(worst.ranked(scores.spoiled(session_tmp)[0])) >= 9
    assert any("stand" in line for line in verdict.lines(scores.spoiled(session_tmp)[0]))
