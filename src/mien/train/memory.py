"""Memory that is given back to the system at every step, and taken anew at the next, costs more than the arithmetic it serves.
So do small pages: on a virtual machine large ones made reading memory six times, a convolution two times as fast."""

from __future__ import annotations

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep() -> bool:
    """Tell the C library to keep what is freed for the next large tensor; False where it can't be told.

    By default each block of more than 32 MiB is mapped from the system and cleared page by page, every time: casting the
    weights of a dense layer took two and a half times as long. A process grows to its peak and stays there. torch is asked for
    large pages, too; it looks at that once, at its first tensor, so call this early.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
