"""The training engine: turns, events, resuming, going back, sharing memory, and what it says when it can't go on."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mien import train
from mien.errors import TrainingError
from mien.phases import Batch, Moment, Optimiser, Phase, Side, Training
from mien.train import folder as keeping
from mien.train import optimise, settings

SETTINGS = train.Settings(steps=12, batch=4, precision="fp32", ema=0.9, clip=1.0, warmup=2, log_every=2, save_every=4)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(3, 4, 3, padding=1)
        self.decoders = nn.ModuleDict({f"d{i}": nn.Conv2d(4, 3, 3, padding=1) for i in range(2)})

    def forward(self, x: Tensor, person: int) -> Tensor:
        return torch.tanh(self.decoders[f"d{person}"](torch.relu(self.encoder(x))))


def net() -> nn.ModuleDict:
    torch.manual_seed(5)
    return nn.ModuleDict(
        {"model": Model(), "critic": nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 1))}
    )


def batches(step: int) -> Iterator[Batch]:
    while True:
        generator = torch.Generator().manual_seed(step)
        yield [Side(*torch.rand(2, 4, 3, 8, 8, generator=generator), masks={}) for _ in range(2)]
        step += 1


def draw(net: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
    drawn = [net["model"](side.warped, i) for i, side in enumerate(batch)]  # type: ignore[index, operator]
    mixed = torch.rand(()) * drawn[0] + drawn[1]  # chance within a turn, as mixup has it
    error = sum((d - s.target).abs().mean() for d, s in zip(drawn, batch, strict=True))
    return {"error": error, "fool": net["critic"](mixed).square().mean()}  # type: ignore[index, dict-item, operator]


def judge(net: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
    with torch.no_grad():
        drawn = net["model"](batch[0].warped, 0)  # type: ignore[index, operator]
    critic = net["critic"]  # type: ignore[index]
    return {"real": (critic(batch[0].target) - 1).square().mean(), "drawn": critic(drawn).square().mean()}  # type: ignore[operator]


def exchange(net: nn.Module) -> None:
    decoders = net["model"].decoders  # type: ignore[index, union-attr]
    decoders["d0"], decoders["d1"] = decoders["d1"], decoders["d0"]  # type: ignore[index, operator]


DRAW = Phase("model", ("model.",), draw, {"error": 1.0, "fool": ((0.0, 0.0), (0.5, 0.1))}, Optimiser(lr=1e-2))
JUDGE = Phase(
    "critic", ("critic.",), judge, {"real": 0.5, "drawn": 0.5}, Optimiser("adabelief", 1e-2, lr_dropout=0.3), every=2
)
TRAINING = Training((DRAW, JUDGE), events=((0.5, exchange),))


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("killed", [1, 5, 6, 7, 11])
def test_a_resumed_run_equals_an_undisturbed_one(tmp_path: Path, killed: int) -> None:
    whole = train.run(net(), TRAINING, batches, SETTINGS, tmp_path / "whole")

    def dying(step: int) -> Iterator[Batch]:
        yield from islice(batches(step), killed)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.run(net(), TRAINING, dying, SETTINGS, tmp_path / "killed")
    resumed = train.run(net(), TRAINING, batches, SETTINGS, tmp_path / "killed")
    assert equal(whole, resumed)
    assert not equal(whole, net())
    assert [row["step"] for row in rows(tmp_path / "killed")] == [2, 4, 6, 8, 10, 12]
    assert [p.name for p in keeping.states(tmp_path / "killed")] == [
        "state-000008.safetensors",
        "state-000012.safetensors",
    ]
    assert equal(train.latest(net(), tmp_path / "killed", TRAINING.events)[0], whole)


class Notes:
    """Looks on, keeps what it is told, and may do something at a row of the log."""

    def __init__(self, then: Callable[[int], None] = lambda step: None) -> None:
        self.notes: list[str] = []
        self.then = then

    def logged(self, step: int, row: Mapping[str, float]) -> None:
        self.then(step)

    def saved(self, step: int, net: nn.ModuleDict) -> None:
        assert not net.training

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_row_tells_of_every_phase(tmp_path: Path) -> None:
    train.run(net(), TRAINING, batches, SETTINGS, tmp_path, describe={"system": "toy"})
    told = set(rows(tmp_path)[-1])
    assert {"step", "seconds_a_step", "images_a_second", "model/error", "model/fool", "model/total", "model/lr"} <= told
    assert {"model/norm", "critic/real", "critic/drawn", "critic/total"} <= told
    assert json.loads((tmp_path / "config.json").read_text())["run"] == {"system": "toy"}


@pytest.mark.parametrize("asked", [0, 1])
def test_a_run_has_its_threads_whoever_set_them_before(tmp_path: Path, asked: int) -> None:
    before, had = torch.get_num_threads(), set()
    watch = Notes(lambda step: had.add(torch.get_num_threads()))
    try:
        torch.set_num_threads(2 if asked else 1)  # as a detector leaves it
        train.run(net(), TRAINING, batches, replace(SETTINGS, steps=2, threads=asked), tmp_path, watch)
    finally:
        torch.set_num_threads(before)
    assert had == {asked or settings.cores()}


def test_shares_of_a_batch_give_the_whole_ones_curve(tmp_path: Path) -> None:
    calm = Training((replace(DRAW, weights={"error": 1.0, "fool": 0.0}),))
    whole = train.run(net(), calm, batches, SETTINGS, tmp_path / "whole")
    shares = train.run(net(), calm, batches, replace(SETTINGS, micro=3), tmp_path / "shares")
    for a, b in zip(whole.state_dict().values(), shares.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_short_memory_halves_the_share(tmp_path: Path) -> None:
    def tight(net: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        if moment.step >= 5 and len(batch[0].target) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes")
        return draw(net, batch, moment)

    watch = Notes()
    training = Training((replace(DRAW, losses=tight), JUDGE))
    train.run(net(), training, batches, SETTINGS, tmp_path / "halved", watch)
    assert [note.split(":")[1].split()[3] for note in watch.notes] == ["2", "1"]
    again = Notes()
    train.run(net(), training, batches, replace(SETTINGS, steps=14), tmp_path / "halved", again)
    assert not again.notes, "a checkpoint knows what fits"

    def none(net: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        raise MemoryError

    with pytest.raises(TrainingError, match="memory does not suffice"):
        train.run(net(), Training((replace(DRAW, losses=none),)), batches, SETTINGS, tmp_path / "none")


def test_a_batch_without_numbers_is_left_out(tmp_path: Path) -> None:
    def spoiled(step: int) -> Iterator[Batch]:
        for k, batch in enumerate(batches(step), step):
            yield [replace(side, target=side.target * torch.nan) for side in batch] if k == 6 else batch

    watch = Notes()
    once = train.run(net(), TRAINING, spoiled, SETTINGS, tmp_path / "once", watch)
    assert len(watch.notes) == 1
    assert "back to step 6, without that batch" in watch.notes[0], "an event had just been kept"
    assert all(value.isfinite().all() for value in once.state_dict().values())

    def dying(step: int) -> Iterator[Batch]:
        yield from islice(spoiled(step), 9 - step)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.run(net(), TRAINING, dying, SETTINGS, tmp_path / "killed")
    assert equal(once, train.run(net(), TRAINING, spoiled, SETTINGS, tmp_path / "killed"))


def test_numbers_that_stay_none_stop_the_run(tmp_path: Path) -> None:
    def broken(net: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        return {name: term * (torch.nan if moment.step > 4 else 1) for name, term in draw(net, batch, moment).items()}

    with pytest.raises(TrainingError, match=r"no numbers any more at step 8, for the 4th time .*lower learning rate"):
        train.run(net(), Training((replace(DRAW, losses=broken),)), batches, SETTINGS, tmp_path)
    kept, _ = train.latest(net(), tmp_path)
    assert all(value.isfinite().all() for value in kept.state_dict().values())


def test_a_full_disk_leaves_the_checkpoints_before(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step: int) -> None:
        if step == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))

    try:
        with pytest.raises(TrainingError, match="no room for the checkpoint of step 6"):
            train.run(net(), TRAINING, batches, SETTINGS, tmp_path, Notes(fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in sorted(tmp_path.iterdir())] == [
        "config.json", "log.jsonl", "state-000000.safetensors", "state-000004.safetensors"
    ]  # fmt: skip
    whole = train.run(net(), TRAINING, batches, SETTINGS, tmp_path / "whole")
    assert equal(whole, train.run(net(), TRAINING, batches, SETTINGS, tmp_path))


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    whole = train.run(net(), TRAINING, batches, SETTINGS, tmp_path)
    last = keeping.states(tmp_path)[-1]
    last.write_bytes(last.read_bytes()[:1000])
    watch = Notes()
    assert equal(whole, train.run(net(), TRAINING, batches, SETTINGS, tmp_path, watch))
    assert watch.notes == [f"{last.name} is damaged: going on from the one before"]
    for path in keeping.states(tmp_path):
        path.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="is damaged"):
        train.run(net(), TRAINING, batches, SETTINGS, tmp_path)


def test_time_that_is_up_stops_the_run_saved(tmp_path: Path) -> None:
    whole = train.run(net(), TRAINING, batches, SETTINGS, tmp_path / "whole")
    for _ in range(20):
        done = train.run(net(), TRAINING, batches, replace(SETTINGS, minutes=1e-4), tmp_path / "pieces")
        if keeping.step_of(keeping.states(tmp_path / "pieces")[-1]) == SETTINGS.steps:
            break
    assert equal(whole, done)


def test_what_rests_stays(tmp_path: Path) -> None:
    rests = replace(
        DRAW, rests={"model.encoder": ((0.0, 0.0), (0.5, 1.0))}, optimiser=Optimiser("adamw", weight_decay=0.1)
    )
    half = train.run(
        net(), Training((rests,)), batches, replace(SETTINGS, ema=0.0, steps=12, minutes=0), tmp_path / "a"
    )
    assert not torch.equal(half["model"].encoder.weight, net()["model"].encoder.weight)
    always = replace(rests, rests={"model.encoder": 1.0}, starts=0.5)
    never = train.run(net(), Training((always,)), batches, replace(SETTINGS, ema=0.0), tmp_path / "b")
    assert torch.equal(never["model"].encoder.weight, net()["model"].encoder.weight)
    assert torch.equal(never["critic"][0].weight, net()["critic"][0].weight)
    assert rows(tmp_path / "b")[0].keys() == {"step", "seconds_a_step", "images_a_second"}, "no turn before it starts"


def test_a_level_that_is_added_is_trained_and_resumed(tmp_path: Path) -> None:
    def grow(net: nn.Module) -> None:
        decoders = net["model"].decoders
        decoders["d0"] = nn.Sequential(decoders["d0"], nn.Conv2d(3, 3, 1))

    training = Training((DRAW,), events=((0.4, grow), (0.7, exchange)))
    whole = train.run(net(), training, batches, SETTINGS, tmp_path / "whole")
    assert isinstance(whole["model"].decoders["d1"], nn.Sequential)
    resumed: list[nn.Module] = []

    def dying(step: int) -> Iterator[Batch]:
        yield from islice(batches(step), 3)
        raise KeyboardInterrupt

    while not resumed:
        try:
            resumed.append(train.run(net(), training, dying, replace(SETTINGS, save_every=1), tmp_path / "killed"))
        except KeyboardInterrupt:
            continue
    assert equal(whole, resumed[0])


@pytest.mark.parametrize("kind", ["adam", "adamw", "adabelief", "rmsprop", "sgd"])
def test_every_optimiser_learns_and_is_kept(tmp_path: Path, kind: str) -> None:
    phase = replace(DRAW, optimiser=Optimiser(kind, 3e-3, weight_decay=0.01))
    settings = replace(SETTINGS, steps=16, save_every=8, log_every=4)
    whole = train.run(net(), Training((phase,)), batches, settings, tmp_path / "whole")
    log = rows(tmp_path / "whole")
    assert log[-1]["model/error"] < log[0]["model/error"]
    train.run(net(), Training((phase,)), lambda step: islice(batches(step), 16), settings, tmp_path / "again")
    keeping.states(tmp_path / "again")[-1].unlink()
    assert equal(whole, train.run(net(), Training((phase,)), batches, settings, tmp_path / "again"))


def test_adabelief_is_the_fields() -> None:
    """One number, three steps, by hand: no bias correction, epsilon outside the root."""
    p = nn.Parameter(torch.tensor([1.0]))
    optimizer = optimise.make(Optimiser("adabelief", 0.1, (0.9, 0.999)), [p])
    w, m, s = 1.0, 0.0, 0.0
    for g in (0.5, -0.25, 1.0):
        p.grad = torch.tensor([g])
        optimizer.step()
        m = 0.9 * m + 0.1 * g
        s = 0.999 * s + 0.001 * (g - m) ** 2
        w -= 0.1 * m / (s**0.5 + 1e-6)
    assert float(p.detach()) == pytest.approx(w, rel=1e-5)


def test_a_dropped_update_keeps_the_rest() -> None:
    p = nn.Parameter(torch.zeros(100, 3, 5, 5).contiguous(memory_format=torch.channels_last))
    mover = optimise.Mover(Optimiser("sgd", 2.0, lr_dropout=0.3), [p])
    p.grad = torch.ones(100, 3, 5, 5)
    mover.step(1.0, 7)
    assert float((p == -1).float().mean()) == pytest.approx(0.3, abs=0.02)
    assert float((p == 0).float().mean()) == pytest.approx(0.7, abs=0.02)
    assert p.grad is None
    assert mover.rate(0) == 2.0
    assert mover.rate(250) == pytest.approx(0)


def test_an_estimate_counts_and_leaves_the_net_alone(tmp_path: Path) -> None:
    mine = net()
    torch.manual_seed(1)
    told = train.estimate(mine, TRAINING, SETTINGS, next(batches(0)))
    assert torch.rand(()) == torch.rand((), generator=torch.Generator().manual_seed(1))
    assert equal(mine, net())
    weights = sum(p.numel() * 4 for p in mine.parameters())
    moments = 2 * weights
    assert told.fixed == pytest.approx(
        2 * weights + moments + 4 * sum(p.numel() for p in mine["model"].parameters()), rel=0.1
    )
    assert 8 * 8 * 4 * 4 < told.picture < 100_000
    assert 0 < told.seconds < 10
    assert told.micro(8) == 8
    assert replace(told, there=told.fixed + 3 * told.picture).micro(8) == 3


CALM = Training((replace(DRAW, weights={"error": 1.0, "fool": 0.0}), JUDGE), events=((0.5, exchange),))
"""Without chance, for which each process has numbers of its own."""


def test_two_processes_give_the_curve_of_one_that_adds_up(tmp_path: Path) -> None:
    train.run(net(), CALM, batches, replace(SETTINGS, micro=2), tmp_path / "one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    told = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(tmp_path / "two")]
    both = [subprocess.Popen(command, env=told | {"RANK": rank}) for rank in "01"]
    try:
        assert [process.wait(240) for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert [row["step"] for row in two] == [row["step"] for row in one]
    for a, b in zip(one, two, strict=True):
        for name in ("model/error", "model/norm", "critic/total"):
            assert a[name] == pytest.approx(b[name], rel=1e-3)
        assert b["images_a_second"] > 0
    first, second = (train.latest(net(), tmp_path / name, CALM.events)[0].state_dict() for name in ("one", "two"))
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=1e-3, rtol=1e-2)


if __name__ == "__main__":
    train.run(net(), CALM, batches, SETTINGS, Path(sys.argv[1]))
