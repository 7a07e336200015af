"""Do many faces together look like real ones? FID and KID of two sets, in the features of a network that is named.

A figure's name holds the network's: `kid_mien_identity` is on another scale than anybody's KID, and only `inception`
may stand beside papers, if the file is the one that they used. Both reward copying the target; read identity beside
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mien import image
from mien.errors import InputError, SettingsError, WeightsError
from mien.types import Array

NAMES = ("mien_identity", "squeezenet1.0", "inception")
INCEPTION_SIDE, INCEPTION_WIDTH = 299, 2048
BATCH = 16


class FeatureNet(Protocol):
    """Turns crops into feature vectors; `name` belongs into the figure's name."""

    @property
    def name(self) -> str: ...

    def embed(self, crops: Sequence[Array]) -> Array:
        """Features (N x D float64) of crops (uint8 RGB H x W x 3, all of one size)."""


@dataclass(frozen=True)
class Kid:
    """Mean and standard deviation of the unbiased squared MMD over `subsets` random subsets of `size` crops of either
    set."""

    mean: float
    deviation: float
    subsets: int
    size: int


def features(crops: Sequence[Array], net: FeatureNet) -> Array:
    """Features (N x D float64) of crops of one size, in batches. Raises InputError without any."""
    if not crops:
        raise InputError("there are no crops to compare; give some faces")
    return np.concatenate([net.embed(crops[at : at + BATCH]) for at in range(0, len(crops), BATCH)])


def fid(a: Array, b: Array) -> float:
    """Fréchet distance of the Gaussians through two sets of features (N x D, M x D), 0 for equal ones.

    |m_a - m_b|^2 + tr(A + B - 2 (A B)^1/2): Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", NeurIPS
    2017, equation 6. The last trace is the sum of the singular values of X_a X_b^T of the centred features: nothing is
    inverted and no root of a matrix taken, so that it is exact for fewer samples than features too; but few samples
    make it larger (prefer `kid`). Raises InputError for fewer than two of either.
    """
    a, b = _checked(a, b)
    roots = [_root(x) for x in (a, b)]
    apart = a.mean(axis=0) - b.mean(axis=0)
    cross = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return float(max(apart @ apart + sum((x**2).sum() for x in roots) - 2 * cross, 0.0))


def kid(a: Array, b: Array, subsets: int = 100, size: int = 1000, seed: int = 0) -> Kid:
    """Squared maximum mean discrepancy with the kernel (x . y / D + 1)^3, without bias from the sets' sizes: may be
    below 0.

    Bińkowski, Sutherland, Arbel and Gretton, "Demystifying MMD GANs", ICLR 2018, section 4. size: crops a subset; where
    a set is no larger, the whole of it. Raises InputError for fewer than two of either.
    """
    a, b = _checked(a, b)
    size = min(size, len(a), len(b))
    random = np.random.default_rng(seed)
    found = np.array([_mmd(_drawn(random, a, size), _drawn(random, b, size)) for _ in range(subsets)])
    return Kid(float(found.mean()), float(found.std()), subsets, size)


def load(name: str = "mien_identity", *, file: Path | None = None, mirror: Path | None = None) -> FeatureNet:
    """The feature network called `name`, one of `NAMES`. file: the user's ONNX file of Inception.

    Raises SettingsError for another name, WeightsError where a file isn't there or is no such network.
    """
    if name == "mien_identity":
        return _mien_identity()
    if name == "squeezenet1.0":
        return _squeezenet(mirror)
    if name == "inception":
        return Inception(file)
    raise SettingsError(f"no feature network is called {name!r}; choose from {', '.join(NAMES)}")


class Pooled:
    """A torch network's taps, each averaged over places and scaled to unit length.

    All together have the length sqrt(D), so that KID's kernel is (cosine + 1)^3 whatever the network.
    """

    def __init__(self, name: str, taps: object, last: int) -> None:
        self.name, self._taps, self._last = name, taps, last

    def embed(self, crops: Sequence[Array]) -> Array:
        """See `FeatureNet`."""
        import torch

        with torch.inference_mode():
            taps = self._taps(torch.from_numpy(image.to_tensor(crops)))[-self._last :]  # type: ignore[operator]
        means = [tap.mean((2, 3)).numpy().astype(np.float64) for tap in taps]
        units = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in means]
        found = np.concatenate(units, axis=1)
        return np.asarray(found * np.sqrt(found.shape[1] / self._last))


class Inception:
    """The user's Inception-v3 as an ONNX file: RGB in [-1, 1], N x 3 x 299 x 299, to N x 2048 features of the last
    pooling.

    Raises WeightsError where there is no file, or its shapes are others.
    """

    name = "inception"

    def __init__(self, file: Path | None) -> None:
        if file is None or not file.is_file():
            raise WeightsError("the feature network 'inception' needs a file: name an ONNX file of Inception-v3")
        from mien.nets.engine import load as load_net

        self._net = load_net(file)
        shapes = list(self._net.inputs.values())
        wanted = (None, 3, INCEPTION_SIDE, INCEPTION_SIDE)
        if len(shapes) != 1 or not _fits(shapes[0], wanted):
            raise WeightsError(
                f"{file} takes {shapes}, not pictures of {INCEPTION_SIDE} px; give an ONNX file of Inception-v3"
            )
        (self._input,) = self._net.inputs
        (width,) = self._run([np.zeros((INCEPTION_SIDE, INCEPTION_SIDE, 3), np.uint8)]).shape[1:]
        if width != INCEPTION_WIDTH:
            raise WeightsError(
                f"{file} gives {width} numbers, not {INCEPTION_WIDTH} features; give an ONNX file of Inception-v3"
            )

    def embed(self, crops: Sequence[Array]) -> Array:
        """See `FeatureNet`."""
        size = (INCEPTION_SIDE, INCEPTION_SIDE)
        return self._run([image.resize(crop, size) for crop in crops])

    def _run(self, crops: Sequence[Array]) -> Array:
        return self._net.run({self._input: image.to_tensor(crops)})[0].reshape(len(crops), -1).astype(np.float64)


def _mien_identity() -> FeatureNet:
    """The last two taps of the shipped identity network (128 + 192 channels), which need no aligned crop."""
    from mien.nets.perceptual import mien_identity

    return Pooled("mien_identity", mien_identity().features, 2)


def _squeezenet(mirror: Path | None) -> FeatureNet:
    """The last tap (fire9, 512 channels) of the user's SqueezeNet 1.0."""
    from mien import weights

    path = weights.find("squeezenet1.0", mirror=mirror)
    from mien.nets.squeezenet import SqueezeNet

    return Pooled("squeezenet1.0", SqueezeNet(path).features, 1)


def _fits(shape: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether a shape is the one wanted, where it is fixed at all."""
    return len(shape) == len(wanted) and all(
        a == b or a is None or b is None for a, b in zip(shape, wanted, strict=True)
    )


def _checked(a: Array, b: Array) -> tuple[Array, Array]:
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    if min(len(a), len(b)) < 2:
        raise InputError("a distribution needs two faces at least on either side")
    assert a.ndim == b.ndim == 2, "features are N x D"
    assert a.shape[1] == b.shape[1], "both sets are of one network"
    return a, b


def _root(x: Array) -> Array:
    """R with R^T R the covariance of N x D features, min(N, D) x D."""
    centred = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r")) if len(x) > x.shape[1] else centred


def _drawn(random: np.random.Generator, x: Array, size: int) -> Array:
    return x[random.choice(len(x), size, replace=False)]


def _mmd(a: Array, b: Array) -> float:
    """The unbiased estimate of the squared MMD of two sets of n features each (Gretton et al. 2012, equation 3)."""
    n = len(a)
    (aa, bb), ab = ((x @ x.T / x.shape[1] + 1) ** 3 for x in (a, b)), (a @ b.T / a.shape[1] + 1) ** 3
    own = [(k.sum() - np.trace(k)) / (n * (n - 1)) for k in (aa, bb)]
    return float(own[0] + own[1] - 2 * ab.mean())
