"""mien: swap and re-enact faces in pictures and video, train the models that do it, measure the result, and mark it.

    import mien
    mien.swap("anna.jpg", "clip.mp4", "swapped.mp4")

Names load what they need at first use, so that `import mien` and `mien --help` answer at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.analysis import run as analyse
    from mien.jobs import Job
    from mien.jobs import swap_file as swap

__version__ = "0.1.0"
__all__ = ["Job", "__version__", "analyse", "swap"]

_HOMES = {"Job": ("mien.jobs", "Job"), "swap": ("mien.jobs", "swap_file"), "analyse": ("mien.analysis", "run")}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    import importlib

    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
