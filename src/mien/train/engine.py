"""Train what a system declares: its phases take turns in every step, its events happen between two of them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol, TextIO

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mien.errors import TrainingError
from mien.phases import Batch, Moment, Phase, Side, Training, at
from mien.train import folder as keeping
from mien.train import optimise
from mien.train.ahead import ahead
from mien.train.average import Average

SETBACKS = 3
"""How often a run goes back because of numbers that are none, before it gives up."""
CALM = 100
"""Steps at half the learning rate after going back."""


@dataclass(frozen=True)
class Settings:
    """How long and how a run is trained.

    batch: pictures of each person a step (what `batches` gives; told in the log). micro: of these, how many are computed at
    once (0: all; their gradients add up). precision: auto (bf16 where the machine does it), bf16, fp32. ema: share of the
    averaged weights that each step keeps. clip: largest norm of a phase's gradient, 0: none. warmup: steps in which each
    phase's learning rate rises. threads: 0: as torch has it. device: auto, cpu, cuda. keep: checkpoints that stay.
    minutes: stop, saved, after so many (0: never); the next call goes on.
    """

    steps: int
    batch: int = 8
    micro: int = 0
    precision: str = "auto"
    ema: float = 0.999
    clip: float = 0.0
    warmup: int = 0
    seed: int = 1
    threads: int = 0
    device: str = "auto"
    log_every: int = 50
    save_every: int = 500
    keep: int = 2
    minutes: float = 0.0


class Watch(Protocol):
    """Who looks on: a table, TensorBoard, previews."""

    def logged(self, step: int, row: Mapping[str, float]) -> None:
        """A row of the log was written: seconds_a_step, images_a_second, `phase/loss`, `/total`, `/lr`, `/norm`."""

    def saved(self, step: int, net: nn.ModuleDict) -> None:
        """A checkpoint was written; `net` has the averaged weights, in eval mode, and must be left as it is."""

    def note(self, text: str) -> None:
        """One line that the user should read."""


@dataclass
class State:
    """The counters of a run; a checkpoint holds them beside the tensors. skipped: steps whose batch gave no numbers."""

    step: int = 0
    events: int = 0
    micro: int = 0
    setbacks: int = 0
    calm_until: int = 0
    skipped: list[int] = field(default_factory=list)


class _NotFinite(Exception):
    """A loss or a gradient that is no number."""


def run(
    net: nn.ModuleDict,
    training: Training,
    batches: Callable[[int], Iterator[Batch]],
    settings: Settings,
    folder: Path,
    watch: Watch | None = None,
    describe: object = None,
) -> nn.ModuleDict:
    """Train `net` in place, from the last checkpoint in `folder` if there is one; returns averaged weights, in eval mode.

    batches: from a step to the batches from there on; batch k must come from k alone, and may be asked for in another
    thread. describe: more for config.json. Raises TrainingError, in one line, where the numbers stay no numbers, memory
    does not suffice for a single picture, the disk is full, or the folder holds another network's run.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    folder.mkdir(parents=True, exist_ok=True)
    keeping.write_config(folder, {"settings": settings, "run": describe})
    return _Run(net, training, settings, folder, watch).go(batches)


class _Run:
    def __init__(
        self, net: nn.ModuleDict, training: Training, settings: Settings, folder: Path, watch: Watch | None
    ) -> None:
        self.device = torch.device(_device(settings.device))
        self.bf16 = settings.precision == "bf16" or (settings.precision == "auto" and _fast_bf16(self.device))
        self.net = net.to(self.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.training, self.settings, self.folder, self.watch = training, settings, folder, watch
        self.state = State(micro=settings.micro)
        self.average = Average(self.net)
        self.optimizers: dict[str, Optimizer] = {}
        self._outfit()

    def go(self, batches: Callable[[int], Iterator[Batch]]) -> nn.ModuleDict:
        """Steps, to the end or until time is up."""
        if not self._load():
            self._save()
        state, settings, ends = self.state, self.settings, time.monotonic() + 60 * (self.settings.minutes or math.inf)
        source, log = self._begin(batches)
        try:
            tally = _Tally()
            while state.step < settings.steps:
                self._happen()
                try:
                    self._step(next(source), tally)
                except _NotFinite as error:
                    self._go_back(error)
                    source.close()
                    log.close()
                    source, log = self._begin(batches)
                    tally = _Tally()
                    continue
                state.step += 1
                self.average.follow(self.net, settings.ema, state.step)
                over = state.step == settings.steps or time.monotonic() > ends
                if state.step % settings.log_every == 0 or over:
                    tally = self._log(log, tally)
                if state.step % settings.save_every == 0 or over:
                    self._save()
                if over:
                    break
        finally:
            source.close()
            log.close()
        return self.average.net

    def _begin(self, batches: Callable[[int], Iterator[Batch]]):  # type: ignore[no-untyped-def]
        return ahead(batches(self.state.step)), keeping.open_log(self.folder / "log.jsonl", self.state.step)

    @property
    def progress(self) -> float:
        return self.state.step / self.settings.steps

    def _happen(self) -> None:
        """The events whose time has come, to the networks and to their average alike."""
        due = [event for share, event in self.training.events if share <= self.progress + 1e-9]
        behind = self.state.events
        for event in due[behind:]:
            for net in (self.net, self.average.net):
                torch.manual_seed(self._seed(self.state.step, 99))
                event(net)
            self.state.events += 1
            self._outfit()
        if due[behind:]:
            self._save()  # going back never undoes an event

    def _outfit(self) -> None:
        """Optimisers for the parameters that the networks have now; moments stay with their parameters."""
        self.net.to(self.device, memory_format=torch.channels_last).train()
        self.average.net.to(self.device, memory_format=torch.channels_last).eval()
        for phase in self.training.phases:
            mine = [p for name, p in self.net.named_parameters() if name.startswith(phase.parts)]
            assert mine, f"phase {phase.name} moves nothing"
            made = optimise.make(phase.optimiser, mine)
            if old := self.optimizers.get(phase.name):
                made.state.update({p: old.state[p] for p in mine if p in old.state})
            self.optimizers[phase.name] = made

    def _seed(self, step: int, turn: int) -> int:
        return (self.settings.seed * 1_000_003 + step) * 101 + turn

    def _step(self, batch: Batch, tally: _Tally) -> None:
        """Every phase's turn, unless this batch once gave no numbers."""
        tally.images += sum(len(side.target) for side in batch)
        tally.steps += 1
        if self.state.step in self.state.skipped:
            return
        for turn, phase in enumerate(self.training.phases):
            if self.state.step % phase.every == 0 and self.progress + 1e-9 >= phase.starts:
                tally.add(phase.name, self._turn(turn, phase, batch))

    def _turn(self, turn: int, phase: Phase, batch: Batch) -> dict[str, float]:
        """Losses, gradients and update of one phase."""
        moving = self._moving(phase)
        while True:
            torch.manual_seed(self._seed(self.state.step, turn))
            try:
                found = self._gradients(phase, batch)
                break
            except (RuntimeError, MemoryError) as error:
                if not _no_memory(error):
                    raise
                for p in moving:
                    p.grad = None
                size = min(self.state.micro or math.inf, len(batch[0].target))
            self._less_memory(int(size))
        norm = self._bounded(moving)
        if not math.isfinite(found["total"]) or not math.isfinite(norm):
            raise _NotFinite(f"{phase.name}: the loss is {found['total']}, its gradient {norm}")
        optimizer, lr = self.optimizers[phase.name], self._rate(phase)
        for group in optimizer.param_groups:
            group["lr"] = lr
        if phase.optimiser.lr_dropout < 1:
            optimise.dropped_step(optimizer, phase.optimiser.lr_dropout, self._seed(self.state.step, turn))
        else:
            optimizer.step()
        for p in moving:
            p.grad = None
        return found | {"lr": lr, "norm": norm}

    def _moving(self, phase: Phase) -> list[nn.Parameter]:
        """The parameters that this phase moves now; all others ask for no gradient."""
        rests = tuple(name for name, table in phase.rests.items() if at(table, self.progress))
        moving = []
        for name, p in self.net.named_parameters():
            p.grad = None
            p.requires_grad_(name.startswith(phase.parts) and not name.startswith(rests))
            if p.requires_grad:
                moving.append(p)
        return moving

    def _gradients(self, phase: Phase, batch: Batch) -> dict[str, float]:
        """Add up the gradients of all shares of the batch; the raw losses and their weighed total, means over the batch."""
        count = len(batch[0].target)
        micro = self.state.micro or count
        moment = Moment(self.state.step, self.progress)
        weights = {name: at(table, self.progress) for name, table in phase.weights.items()}
        sums: dict[str, Tensor] = {}
        for start in range(0, count, micro):
            part = [_slice(side, start, start + micro, self.device) for side in batch]
            share = len(part[0].target) / count
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                terms = phase.losses(self.net, part, moment)
            total = sum((weights[name] * term for name, term in terms.items() if weights[name]), torch.zeros(()))
            if total.requires_grad:
                (total * share).backward()
            for name, term in (*terms.items(), ("total", total)):
                value = term.detach().float() * share
                sums[name] = sums[name] + value if name in sums else value
        return dict(zip(sums, torch.stack([v.to(self.device) for v in sums.values()]).tolist(), strict=True))

    def _bounded(self, moving: list[nn.Parameter]) -> float:
        """The norm of the gradient, which is cut to the largest allowed."""
        gradients = [p.grad for p in moving if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.settings.clip and math.isfinite(norm):
            nn.utils.clip_grads_with_norm_(moving, self.settings.clip, norm)
        return float(norm)

    def _rate(self, phase: Phase) -> float:
        turn = self.state.step - math.ceil(phase.starts * self.settings.steps) + 1
        warm = min(1.0, turn / self.settings.warmup) if self.settings.warmup else 1.0
        calm = 0.5 if self.state.step < self.state.calm_until else 1.0
        return optimise.rate(phase.optimiser, self.state.step) * at(phase.lr, self.progress) * warm * calm

    def _less_memory(self, size: int) -> None:
        if size <= 1:
            raise TrainingError(
                "memory does not suffice for one picture of each person: choose a smaller network or size"
            )
        self.state.micro = size // 2
        self._note(f"memory is short: {size // 2} pictures at once from now on (before: {size}); results stay the same")

    def _go_back(self, error: Exception) -> None:
        """To the last checkpoint, to leave out this batch and to go more slowly for a while."""
        step, setbacks, skipped = self.state.step, self.state.setbacks + 1, [*self.state.skipped, self.state.step]
        if setbacks > SETBACKS:
            raise TrainingError(
                f"no numbers any more at step {step}, for the {setbacks}th time ({error}): lower the learning rate; "
                f"the checkpoints in {self.folder} are good"
            )
        self._load()
        self.state.setbacks, self.state.calm_until, self.state.skipped = setbacks, step + CALM, skipped
        self._note(
            f"no numbers at step {step} ({error}): back to step {self.state.step}, without that batch and at half the rate"
        )

    def _note(self, text: str) -> None:
        if self.watch is not None:
            self.watch.note(text)

    def _log(self, log: TextIO, tally: _Tally) -> _Tally:
        row = tally.row(self.state.step)
        log.write(json.dumps(row) + "\n")
        log.flush()
        if self.watch is not None:
            self.watch.logged(self.state.step, row)
        return _Tally()

    def _save(self) -> None:
        names = {p: name for name, p in self.net.named_parameters()}
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.net.state_dict().items()}
        for phase, optimizer in self.optimizers.items():
            kept = optimise.moments(optimizer, names)
            tensors |= {f"optimiser.{phase}/{name}": value for name, value in kept.items()}
        keeping.save(
            self.folder, self.state.step, tensors, {"state": json.dumps(asdict(self.state))}, self.settings.keep
        )
        if self.watch is not None and self.state.step:
            self.watch.saved(self.state.step, self.average.net)

    def _load(self) -> bool:
        """Take up the last checkpoint, if there is one."""
        found = keeping.load(self.folder, self._note)
        if found is None:
            return False
        path, tensors, told = found
        behind = self.state.events
        saved = State(**json.loads(told["state"]))
        for _, happen in self.training.events[behind : saved.events]:
            happen(self.net)
            happen(self.average.net)
        self.state.__dict__.update(saved.__dict__)
        if self.settings.micro:
            self.state.micro = min(self.settings.micro, saved.micro or self.settings.micro)
        self._outfit()
        keeping.into(self.net, keeping.under(tensors, "net."), path)
        keeping.into(self.average.net, keeping.under(tensors, "average."), path)
        parameters = dict(self.net.named_parameters())
        for phase, optimizer in self.optimizers.items():
            optimise.restore(optimizer, parameters, keeping.under(tensors, f"optimiser.{phase}/"))
        return True


class _Tally:
    """What is told in a row of the log: means over the steps since the last one."""

    def __init__(self) -> None:
        self.began, self.steps, self.images = time.monotonic(), 0, 0
        self.sums: dict[str, tuple[float, int]] = {}

    def add(self, phase: str, found: Mapping[str, float]) -> None:
        for name, value in found.items():
            total, count = self.sums.get(f"{phase}/{name}", (0.0, 0))
            self.sums[f"{phase}/{name}"] = total + value, count + 1

    def row(self, step: int) -> dict[str, float]:
        seconds = time.monotonic() - self.began
        told = {"step": step, "seconds_a_step": seconds / self.steps, "images_a_second": self.images / seconds}
        return {k: float(f"{v:.5g}") for k, v in told.items()} | {
            name: float(f"{total / count:.5g}") for name, (total, count) in self.sums.items()
        }


def _slice(side: Side, start: int, stop: int, device: torch.device) -> Side:
    def part(x: Tensor) -> Tensor:
        return x[start:stop].to(device, non_blocking=True, memory_format=torch.channels_last)

    return replace(
        side, warped=part(side.warped), target=part(side.target), masks={k: part(v) for k, v in side.masks.items()}
    )


def _device(asked: str) -> str:
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def _no_memory(error: BaseException) -> bool:
    words = ("can't allocate memory", "DefaultCPUAllocator", "out of memory", "could not create a memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)
