"""What users may rely on: the names of the package, how light it is, and that nothing is written without a manifest."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mien
from mien import provenance

PUBLIC = ["Job", "__version__", "analyse", "swap"]
HEAVY = ("torch", "av", "cv2", "numba", "scipy", "onnxruntime", "PIL")
WRITERS = ("mien.picture", "mien.video", "mien.provenance")


def test_public_names() -> None:
    assert sorted(mien.__all__) == PUBLIC
    for module in ("mien.jobs", "mien.rendering", "mien.analysis"):
        importlib.import_module(module)
    for name in ("swap", "analyse", "Job"):
        assert callable(getattr(mien, name)), f"a module hides the public {name}"
    with pytest.raises(AttributeError):
        _ = mien.no_such_name


@pytest.mark.parametrize("module", ["mien", "mien.cli"])
def test_imports_are_light(module: str) -> None:
    """`mien --help` must answer at once: heavy libraries are imported where they are used."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def _writers() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public function or class of the writing modules whose name says that it writes an output."""
    for module in map(importlib.import_module, WRITERS):
        for name, value in vars(module).items():
            written = name.lower().startswith(("save", "write")) and callable(value)
            if written and value is not provenance.write_bytes:  # bytes of any kind; what it writes is marked before
                yield f"{module.__name__}.{name}", value


def test_writers_are_found() -> None:
    assert {"mien.picture.save", "mien.provenance.write_sidecar"} <= {name for name, _ in _writers()}
    assert any(name.startswith("mien.video.") for name, _ in _writers())


@pytest.mark.parametrize("name, writer", list(_writers()), ids=[name for name, _ in _writers()])
def test_a_writer_requires_a_manifest(name: str, writer: Callable[..., Any]) -> None:
    parameter = inspect.signature(writer).parameters.get("manifest")
    assert parameter is not None, f"{name} takes no manifest"
    assert parameter.default is inspect.Parameter.empty, f"{name} can do without a manifest"
    assert parameter.annotation in ("Manifest", provenance.Manifest)
