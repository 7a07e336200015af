"""Train what a system declares: its phases take turns in every step, its events happen between two of them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import torch
from torch import nn

from mien.errors import TrainingError
from mien.phases import Batch, Moment, Phase, Training, at
from mien.train import folder as keeping
from mien.train import memory
from mien.train.average import Average
from mien.train.optimise import Mover
from mien.train.settings import Settings, Silence, State, Watch, cores
from mien.train.tally import Tally
from mien.train.team import Team
from mien.train.turn import Ground, NotFinite, bounded, gradients, moving, no_memory

SETBACKS = 3
"""How often a run goes back because of numbers that are none, before it gives up."""
CALM = 100
"""Steps at half the learning rate after going back."""
EVENTS = 99
"""The turn whose random numbers the events have."""


def run(
    net: nn.ModuleDict,
    training: Training,
    batches: Callable[[int], Iterator[Batch]],
    settings: Settings,
    folder: Path,
    watch: Watch | None = None,
    describe: object = None,
    stop: Callable[[], bool] = lambda: False,
) -> nn.ModuleDict:
    """Train `net` in place, from the last checkpoint in `folder` if there is one; returns averaged weights, in eval mode.

    batches: from a step to the batches from there on; batch k must come from k alone, and better be ready.
    describe: more for config.json. stop: asked between two steps; true ends the call, saved, as the minutes do. Under
    torchrun each process takes its share of every batch. Raises TrainingError, in one line, where the numbers stay no numbers,
    memory does not suffice for a single picture, the disk is full, or the folder holds another network's run.
    """
    memory.keep()
    torch.set_num_threads(settings.threads or cores())  # whoever looked for faces before has left torch with one
    team = Team(settings.where())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if team.first:
            keeping.write_config(folder, {"settings": settings, "run": describe})
        told = watch if watch and team.first else Silence()
        return Run(net, training, settings, folder, told, team, stop).go(batches)
    except OSError as error:
        if keeping.is_full(error):
            raise TrainingError(
                f"no room in {folder}: free some, and the run goes on from its last checkpoint"
            ) from error
        raise
    finally:
        team.leave()


class Run:
    """A run between two checkpoints: networks, their average, optimisers, counters."""

    def __init__(
        self, net: nn.ModuleDict, training: Training, settings: Settings, folder: Path, watch: Watch, team: Team,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self.ground = Ground(settings.where(), settings.bf16(), team)
        self.training, self.settings, self.folder, self.watch, self.stop = training, settings, folder, watch, stop
        self.net = net.to(self.ground.device)
        self.state, self.average = State(micro=settings.micro), Average(self.net)
        self.movers: dict[str, Mover] = {}
        self._outfit()

    def go(self, batches: Callable[[int], Iterator[Batch]]) -> nn.ModuleDict:
        """Steps, to the end or until time is up."""
        if not keeping.states(self.folder):
            self._save()
        self.ground.team.wait()
        self._load()
        ends = time.monotonic() + 60 * (self.settings.minutes or math.inf)
        while self.state.step < self.settings.steps and time.monotonic() < ends and not self.stop():
            source = batches(self.state.step)
            try:
                with keeping.open_log(self._log_file(), self.state.step) as log:
                    self._stretch(source, log, ends)
            except NotFinite as error:
                self._go_back(error)
            finally:
                if isinstance(source, Generator):
                    source.close()
        self.ground.team.wait()  # whoever leaves while another still sums may be torn out of the last sum
        return self.average.net

    def _stretch(self, source: Iterator[Batch], log: TextIO, ends: float) -> None:
        """Steps until the end, the time's end, or a number that is none."""
        tally, settings, state = Tally(), self.settings, self.state
        over = False
        while not over:
            self._happen()
            self.step(next(source), tally)
            late = self.ground.team.any(time.monotonic() > ends or self.stop())
            over = late or state.step == settings.steps
            if state.step % settings.log_every == 0 or over:
                row = tally.row(state.step)
                log.write(json.dumps(row) + "\n")
                log.flush()
                self.watch.logged(state.step, row)
                tally = Tally()
            if state.step % settings.save_every == 0 or over:
                self._save()
                self.watch.saved(state.step, self.average.net)

    @property
    def progress(self) -> float:
        """Share of all steps that lie behind."""
        return self.state.step / self.settings.steps

    def step(self, batch: Batch, tally: Tally) -> None:
        """Every phase's turn, unless this batch once gave no numbers."""
        if self.state.step not in self.state.skipped:
            for turn, phase in enumerate(self.training.phases):
                if self.state.step % phase.every == 0 and phase.starts <= self.progress + 1e-9 < phase.ends:
                    tally.add(phase.name, self._turn(turn, phase, batch))
        self.state.step += 1
        self.average.follow(self.net, self.settings.ema, self.state.step)
        tally.step(sum(len(side.target) for side in batch))

    def _turn(self, turn: int, phase: Phase, batch: Batch) -> dict[str, float]:
        """Losses, gradients and update of one phase. Raises NotFinite before anything moved."""
        parameters = moving(self.net, phase, self.progress)
        found = self._gradients(turn, phase, batch)
        norm = bounded(parameters, self.settings.clip)
        if not math.isfinite(found["total"]) or not math.isfinite(norm):
            raise NotFinite(f"{phase.name}: loss {found['total']:.3g}, gradient {norm:.3g}")
        lr = self._rate(phase)
        self.movers[phase.name].step(lr, self._seed(turn))
        return found | {"lr": lr, "norm": norm}

    def _gradients(self, turn: int, phase: Phase, batch: Batch) -> dict[str, float]:
        """Those of the batch, in smaller shares where memory runs out."""
        while True:
            torch.manual_seed(self._seed(turn, self.ground.team.rank))
            try:
                moment = Moment(self.state.step, self.progress)
                return gradients(self.net, phase, batch, moment, self.state.micro, self.ground)
            except (RuntimeError, MemoryError) as error:
                if not no_memory(error):
                    raise
            for p in self.net.parameters():
                p.grad = None
            self._take_less(len(batch[0].target))

    def _take_less(self, count: int) -> None:
        size = min(self.state.micro or count, count)
        if self.ground.team.size > 1 or size <= 1:
            raise TrainingError(
                f"memory does not suffice for {size} picture(s) of each person at once: "
                "choose a smaller micro, or a smaller network or face"
            )
        self.state.micro = size // 2
        self.watch.note(
            f"memory is short: from now on {size // 2} pictures of each person at once instead of {size}, "
            "their gradients added up"
        )

    def _rate(self, phase: Phase) -> float:
        """The learning rate of a phase now."""
        turn = self.state.step - math.ceil(phase.starts * self.settings.steps) + 1
        warm = min(1.0, turn / self.settings.warmup) if self.settings.warmup else 1.0
        calm = 0.5 if self.state.step < self.state.calm_until else 1.0
        return self.movers[phase.name].rate(self.state.step) * at(phase.lr, self.progress) * warm * calm

    def _seed(self, turn: int, rank: int = 0) -> int:
        return ((self.settings.seed * 1_000_003 + self.state.step) * 101 + turn) * 1009 + rank

    def _happen(self) -> None:
        """The events whose time has come, to the networks and to their average alike."""
        due = sum(share <= self.progress + 1e-9 for share, _ in self.training.events)
        if self.state.events >= due:
            return
        for _, event in self.training.events[self.state.events : due]:
            for net in (self.net, self.average.net):
                torch.manual_seed(self._seed(EVENTS))
                event(net)
            self.state.events += 1
        self._outfit()
        self._save()  # so that going back never has to undo an event
        self.ground.team.wait()

    def _outfit(self) -> None:
        """Optimisers for the parameters that the networks have now; moments stay with their parameters."""
        for net in (self.net, self.average.net):
            net.to(self.ground.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net.train()
        self.average.net.eval()
        for phase in self.training.phases:
            mine = [p for name, p in self.net.named_parameters() if name.startswith(phase.parts)]
            assert mine, f"phase {phase.name} moves nothing"
            made = Mover(phase.optimiser, mine)
            if old := self.movers.get(phase.name):
                made.inherit(old)
            self.movers[phase.name] = made

    def _go_back(self, error: NotFinite) -> None:
        """To the last checkpoint, to leave out this batch and to go more slowly for a while."""
        step, setbacks, skipped = self.state.step, self.state.setbacks + 1, [*self.state.skipped, self.state.step]
        if setbacks > SETBACKS:
            raise TrainingError(
                f"no numbers any more at step {step}, for the {setbacks}th time ({error}): choose a lower learning rate "
                f"and train anew, or go on from a checkpoint in {self.folder}"
            )
        self._load()
        self.state.setbacks, self.state.calm_until, self.state.skipped = setbacks, step + CALM, skipped
        self.watch.note(
            f"no numbers at step {step} ({error}): back to step {self.state.step}, without that batch, at half the rate"
        )

    def _log_file(self) -> Path:
        return self.folder / "log.jsonl" if self.ground.team.first else Path("/dev/null")

    def _save(self) -> None:
        if not self.ground.team.first:
            return
        names: dict[torch.Tensor, str] = {p: name for name, p in self.net.named_parameters()}
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.net.state_dict().items()}
        for phase, mover in self.movers.items():
            kept = mover.moments(names)
            tensors |= {f"optimiser.{phase}/{name}": value for name, value in kept.items()}
        told = {"state": json.dumps(asdict(self.state))}
        keeping.save(self.folder, self.state.step, tensors, told, self.settings.keep)

    def _load(self) -> None:
        """Take up the last whole checkpoint."""
        found = keeping.load(self.folder, self.watch.note)
        assert found is not None
        path, tensors, told = found
        if "state" not in told:
            raise TrainingError(f"{path} is damaged or of another network; delete it or take another folder")
        saved = State(**json.loads(told["state"]))
        for _, happen in self.training.events[self.state.events : saved.events]:
            happen(self.net)
            happen(self.average.net)
        self.state.__dict__.update(asdict(saved))
        if self.settings.micro:
            self.state.micro = min(self.settings.micro, saved.micro or self.settings.micro)
        self._outfit()
        keeping.into(self.net, keeping.under(tensors, "net."), path)
        keeping.into(self.average.net, keeping.under(tensors, "average."), path)
        parameters = dict(self.net.named_parameters())
        for phase, mover in self.movers.items():
            mover.restore(parameters, keeping.under(tensors, f"optimiser.{phase}/"))
