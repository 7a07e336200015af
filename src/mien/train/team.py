"""Several processes that train one network (torchrun): each takes its share of every batch, gradients are added up.

Gradients are summed by hand, a phase at a time, not by torch's DistributedDataParallel: that one wraps a single module with a
single backward pass, while here several phases move different parts of the same networks, some resting. As each share is
weighed by its part of the batch, the sum is the gradient of the whole batch: the curve is that of one process that
accumulates.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor, distributed

from mien.errors import TrainingError
from mien.phases import Batch, Side

BUCKET = 1 << 24
"""Numbers that travel at once."""


class Team:
    """rank: which process this is; size: how many there are. One alone needs no network and does nothing here."""

    def __init__(self, device: torch.device) -> None:
        self.size, self.rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        self._mine = self.size > 1 and not distributed.is_initialized()
        if self._mine:
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")

    @property
    def first(self) -> bool:
        """Whether this process writes the log and the checkpoints."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """This process's part of a batch. Raises TrainingError where some would have none."""
        count = len(batch[0].target)
        if self.size == 1:
            return batch
        if count < self.size:
            raise TrainingError(f"{count} pictures a person can't be shared by {self.size} processes: start fewer")
        start, stop = (count * rank // self.size for rank in (self.rank, self.rank + 1))
        return [cut(side, start, stop) for side in batch]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.size == 1:
            return
        waiting: list[Tensor] = []
        for i, tensor in enumerate(tensors):
            waiting.append(tensor)
            if i + 1 == len(tensors) or sum(t.numel() for t in waiting) + tensors[i + 1].numel() > BUCKET:
                flat = torch.cat([t.reshape(-1) for t in waiting])
                distributed.all_reduce(flat)
                for t, summed in zip(waiting, flat.split([t.numel() for t in waiting]), strict=True):
                    t.copy_(summed.view(t.shape))
                waiting = []

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        word = torch.tensor(float(flag))
        self.add_up([word])
        return bool(word)

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            distributed.barrier()

    def leave(self) -> None:
        """Close what was opened."""
        if self._mine:
            distributed.destroy_process_group()


def cut(side: Side, start: int, stop: int, device: torch.device | None = None) -> Side:
    """Some pictures of a side, on `device`, in the layout that convolutions like."""

    def part(x: Tensor) -> Tensor:
        rows = x[start:stop]
        if device is None:
            return rows
        rows = rows.to(device, non_blocking=True)
        return rows.contiguous(memory_format=torch.channels_last) if rows.ndim == 4 else rows

    assert [f.name for f in fields(side)] == ["warped", "target", "masks", "more"]
    masks, more = ({k: part(v) for k, v in each.items()} for each in (side.masks, side.more))
    return replace(side, warped=part(side.warped), target=part(side.target), masks=masks, more=more)
