"""What a run leaves in its folder: `config.json`, `log.jsonl` and the last few checkpoints, each one safetensors file.

Everything is written beside and renamed, so that a killed run or a full disk leaves what was there before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mien.errors import TrainingError
from mien.phases import Event

Net = TypeVar("Net", bound=nn.Module)
KEPT = 2
"""Checkpoints that stay in a run's folder: the last one, and one more in case that one is damaged."""
ROOM = ("No space left", "os error 28", "File too large", "os error 27", "quota")


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], told: Mapping[str, str], keep: int = KEPT) -> None:
    """One file with all that a resumed run needs; on the disk before it takes its name. Raises TrainingError where there
    is no room: earlier checkpoints stay."""
    part = folder / "state.part"
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, part, metadata=dict(told))
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, folder / f"state-{step:06d}.safetensors")
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        if is_full(error):
            raise TrainingError(
                f"no room for the checkpoint of step {step} in {folder}: free some, and the run goes on from the last one"
            ) from error
        raise
    for old in states(folder)[:-keep]:
        old.unlink()


def is_full(error: Exception) -> bool:
    """Whether the disk, or the user's share of it, has no more room."""
    return any(word in str(error) for word in ROOM)


def states(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the oldest first."""
    return sorted(folder.glob("state-*.safetensors"), key=step_of)


def step_of(path: Path) -> int:
    """The step that a checkpoint was saved after."""
    return int(path.stem.split("-")[1])


def load(
    folder: Path, note: Callable[[str], None] | None = None
) -> tuple[Path, dict[str, Tensor], dict[str, str]] | None:
    """The last whole checkpoint (path, tensors, metadata), None where there is none; `note` is told of damaged ones.

    Raises TrainingError where all are damaged, or, without `note`, the last one.
    """
    found = states(folder)
    for path in reversed(found):
        try:
            with safe_open(path, "pt") as file:
                return path, {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            if note is None or path == found[0]:
                raise TrainingError(
                    f"{path} is damaged or of another network; delete it or take another folder"
                ) from error
            note(f"{path.name} is damaged: going on from the one before")
    return None


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with `prefix`, by the rest of their names."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def into(net: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Fill a network with a checkpoint's weights. Raises TrainingError where they are another network's."""
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise TrainingError(f"{path} is damaged or of another network; delete it or take another folder") from error


def latest(net: Net, folder: Path, events: Sequence[Event] = ()) -> tuple[Net, int]:
    """A copy of `net` in eval mode with the averaged weights of the last checkpoint in `folder`, and that one's step.

    events: those of its `Training`; the ones that lie behind are done to the copy first. Raises TrainingError without one.
    """
    average = deepcopy(net)
    found = load(folder)
    if found is None:
        raise TrainingError(f"{folder} holds no checkpoint; train first")
    path, tensors, told = found
    for _, happen in events[: json.loads(told.get("state", "{}")).get("events", 0)]:
        assert isinstance(average, nn.ModuleDict), "events happen to a system's networks"
        happen(average)
    into(average, under(tensors, "average."), path)
    return average.eval(), step_of(path)


def write_config(folder: Path, content: Mapping[str, Any]) -> None:
    """`config.json`: dataclasses as mappings, torch's version added."""
    plain = {name: asdict(v) if is_dataclass(v) and not isinstance(v, type) else v for name, v in content.items()}
    part = folder / "config.json.part"
    part.write_text(json.dumps(plain | {"torch": str(torch.__version__)}, indent=1, default=str) + "\n")
    os.replace(part, folder / "config.json")


def open_log(path: Path, step: int) -> TextIO:
    """The log, without what a killed run wrote after its last checkpoint."""
    lines = path.read_text().splitlines() if path.exists() else []
    part = path.with_name(path.name + ".part")
    part.write_text("".join(f"{line}\n" for line in lines if line.endswith("}") and json.loads(line)["step"] <= step))
    os.replace(part, path)
    return path.open("a")
