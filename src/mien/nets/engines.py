"""The three engines that run an ONNX file on the processor: ONNX Runtime, OpenVINO (fp32 or bf16) and torch.

`nets.engine` chooses among them; nobody else opens one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort

from mien.errors import SettingsError, WeightsError
from mien.types import Array

PACKAGES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "openvino-bf16": "openvino", "torch": "torch"}
"""Engine -> the package it is in."""


class Network(Protocol):
    """A network that is ready to run. Arrays are float32, their first axis is the batch."""

    @property
    def engine(self) -> str: ...

    @property
    def inputs(self) -> Mapping[str, tuple[int | None, ...]]:
        """Name -> shape of what it reads; None where any length will do."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what it answers."""

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        """The answers, in the order of `outputs`; several threads may ask."""


def installed() -> tuple[str, ...]:
    """The engines that can be had here."""
    return tuple(name for name, package in PACKAGES.items() if importlib.util.find_spec(package) is not None)


def fast_bf16() -> bool:
    """Whether this processor has instructions for bf16, and torch's networks shall compute in it."""
    import torch

    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def open_in(engine: str, path: Path, threads: int = 1) -> Network:
    """The network in `path` in the engine of that name, on at most `threads` threads (torch takes the process's own).

    Raises SettingsError for an engine nobody knows or that isn't installed, WeightsError where the file is no network.
    """
    if engine not in PACKAGES:
        raise SettingsError(f"no engine is called {engine!r}; choose from auto, {', '.join(PACKAGES)}")
    if engine not in installed():
        raise SettingsError(f"the engine {engine!r} is not installed: pip install {PACKAGES[engine]}")
    if engine == "onnxruntime":
        return _OnnxRuntime(path, threads)
    if engine == "torch":
        return _Torch(path)
    return _OpenVino(path, threads, "bf16" if engine.endswith("bf16") else "f32")


class _OnnxRuntime:
    engine = "onnxruntime"

    def __init__(self, path: Path, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Idle threads leave the cores to the other networks.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise WeightsError(f"{path} is no ONNX network that can be run here; get it anew") from error
        entries = self._session.get_inputs()
        self.inputs = {e.name: tuple(n if isinstance(n, int) else None for n in e.shape) for e in entries}
        self.outputs = tuple(e.name for e in self._session.get_outputs())

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        return [np.asarray(output) for output in self._session.run(None, dict(feed))]


class _OpenVino:
    def __init__(self, path: Path, threads: int, precision: str) -> None:
        self.engine = "openvino" if precision == "f32" else f"openvino-{precision}"
        # One stream on a fixed number of threads: the same sums in the same order, whatever else the machine does.
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = _core().compile_model(str(path), "CPU", settings)
        except RuntimeError as error:
            raise WeightsError(f"{path} is no ONNX network that can be run here; get it anew") from error
        self._request = model.create_infer_request()
        self._asked = Lock()  # a request answers one question at a time, and refuses a second meanwhile
        self.inputs = {port.any_name: _shape(port.partial_shape) for port in model.inputs}
        self.outputs = tuple(port.any_name for port in model.outputs)

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        with self._asked:
            self._request.infer(dict(feed))
            return [np.array(self._request.get_output_tensor(i).data) for i in range(len(self.outputs))]


class _Torch:
    engine = "torch"

    def __init__(self, path: Path) -> None:
        from mien.nets.graph import Graph

        self._graph = Graph(path)
        self.inputs, self.outputs = self._graph.inputs, self._graph.outputs

    def run(self, feed: Mapping[str, Array]) -> list[Array]:
        import torch

        with torch.inference_mode():
            tensors = {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in feed.items()}
            return [output.numpy() for output in self._graph(**tensors)]


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def _shape(shape: Any) -> tuple[int | None, ...]:
    return tuple(None if dimension.is_dynamic else dimension.get_length() for dimension in shape)
