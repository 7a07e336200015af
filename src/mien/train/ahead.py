"""Batches are made in a thread of their own, a few ahead of the step that needs them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

T = TypeVar("T")
DEPTH = 2
"""Batches that wait at most."""


def ahead(source: Iterator[T], depth: int = DEPTH) -> Generator[T]:
    """The same items in the same order; what `source` raises is raised here. Closing it ends the thread."""
    waiting: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    over = threading.Event()

    def put(item: tuple[T | None, BaseException | None]) -> None:
        while not over.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in source:
                put((item, None))
                if over.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        over.set()
        thread.join()
