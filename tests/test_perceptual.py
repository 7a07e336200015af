"""Distances in features rise with what is spoilt and agree in rank; the user's files are decoded, and damaged ones refused."""

from __future__ import annotations

import itertools
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage import data

import spoil
from mien import image
from mien.errors import SettingsError, WeightsError
from mien.evaluate import perceptual
from mien.nets import squeezenet
from mien.nets.graph import Graph
from mien.nets.perceptual import IDENTITY_TAPS, mien_identity
from mien.types import Array
from mien.weights import ASSETS

FACES = spoil.samples()
STRENGTHS = (0.25, 0.5, 1.0)
OURS = perceptual.load()
CAT, ESPRESSO, MOPED = {281, 282, 285}, {967}, {665}


def small(rgb: Array) -> Array:
    """Half the size: the same in a quarter of the time."""
    return image.resize(rgb, (128, 128))


def curve(net: perceptual.Perceptual, name: str, face: int = 0) -> list[float]:
    rgb, mask = FACES[face].rgb, FACES[face].mask
    return [net.distance(small(spoil.SPOILERS[name](rgb, mask, s, 1)), small(rgb)) for s in STRENGTHS]


@pytest.fixture(scope="module")
def squeeze(shared: Path) -> perceptual.Perceptual:
    return perceptual.load("lpips_squeeze1.0", mirror=shared / "weights")


@pytest.mark.parametrize("name", sorted(spoil.SPOILERS))
def test_more_spoilt_is_farther(name: str) -> None:
    for face in (0, 4):
        found = curve(OURS, name, face)
        assert all(a < b for a, b in itertools.pairwise([0, *found])), found


def test_it_is_a_distance_inside_a_mask() -> None:
    face = FACES[0]
    assert OURS.distance(face.rgb, face.rgb) == pytest.approx(0, abs=1e-6)
    there, back = OURS.distance(FACES[1].rgb, face.rgb), OURS.distance(face.rgb, FACES[1].rgb)
    assert there == pytest.approx(back, rel=1e-5)
    outside = spoil.noise(face.rgb, ~face.mask, 1, 0)
    core = np.zeros_like(face.mask)
    core[108:148, 108:148] = True
    assert OURS.distance(outside, face.rgb, core) < 0.2 * OURS.distance(outside, face.rgb)
    assert math.isnan(OURS.distance(face.rgb, face.rgb, np.zeros_like(face.mask)))


def test_its_features_can_be_learnt_from() -> None:
    picture = torch.from_numpy(image.to_tensor([small(FACES[0].rgb)])).requires_grad_()
    taps = OURS.features(picture)
    assert [tap.shape[1] for tap in taps] == [24, 48, 128, 192]
    other = torch.from_numpy(image.to_tensor([small(FACES[1].rgb)]))
    net = mien_identity()
    net(picture, other).sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in net.parameters())


def test_a_tap_that_is_not_there_is_told() -> None:
    whole, cut = Graph(ASSETS / "identity.onnx"), Graph(ASSETS / "identity.onnx", IDENTITY_TAPS[:1])
    assert len(list(cut.buffers())) < len(list(whole.buffers()))
    with pytest.raises(WeightsError, match="holds no nothing"):
        Graph(ASSETS / "identity.onnx", ("nothing",))


def test_names_and_missing_files_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SettingsError, match="mien_identity"):
        perceptual.load("lpips")
    with pytest.raises(WeightsError, match="compressed_SqueezeNet"):
        perceptual.load("lpips_squeeze1.0", mirror=tmp_path)


@pytest.mark.parametrize(("picture", "classes"), [("cat", CAT), ("coffee", ESPRESSO), ("stereo_motorcycle", MOPED)])
def test_squeezenet_knows_what_it_sees(shared: Path, picture: str, classes: set[int]) -> None:
    net = squeezenet.SqueezeNet(shared / "weights" / "compressed_SqueezeNet.net")
    found = getattr(data, picture)()
    rgb = found[0] if isinstance(found, tuple) else found
    side, (height, width) = min(rgb.shape[:2]), rgb.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2
    square = image.resize(np.ascontiguousarray(rgb[top : top + side, left : left + side]), (227, 227))
    with torch.inference_mode():
        odds = net(torch.from_numpy(image.to_tensor([square]))).softmax(1)[0]
    assert int(odds.argmax()) in classes
    assert odds[sorted(classes)].sum() > 0.6


def test_squeezenet_is_version_one_and_the_heads_are_not(shared: Path) -> None:
    net = squeezenet.SqueezeNet(shared / "weights" / "compressed_SqueezeNet.net")
    taps = net.features(torch.zeros(1, 3, 64, 64))
    assert [tap.shape[1] for tap in taps] == [96, 128, 256, 384, 384, 512, 512]
    heads = squeezenet.heads(shared / "weights" / "lpips_squeeze.pth")
    assert [len(head) for head in heads] == [64, 128, 256, 384, 384, 512, 512]
    assert all((head >= 0).all() and 0 < head.max() < 1 for head in heads), "LPIPS keeps its weights at 0 or above"


def test_the_two_networks_agree_in_rank(squeeze: perceptual.Perceptual) -> None:
    pairs = []
    for name in ("blur", "noise", "jpeg", "colour", "ghost", "shift", "rotation", "seam"):
        theirs, ours = curve(squeeze, name), curve(OURS, name)
        assert all(a < b for a, b in itertools.pairwise([0, *theirs])), (name, theirs)
        pairs += list(zip(theirs, ours, strict=True))
    assert spearmanr(*np.array(pairs).T).statistic > 0.8


@pytest.mark.parametrize("cut", [50, 5000, 675762])
def test_a_truncated_network_is_refused(shared: Path, tmp_path: Path, cut: int) -> None:
    whole = (shared / "weights" / "compressed_SqueezeNet.net").read_bytes()
    for name, damaged in (("short", whole[:cut]), ("long", whole + b"x"), ("other", whole[::-1])):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(WeightsError, match="get it anew"):
            squeezenet.SqueezeNet(tmp_path / name)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("called",)


def test_heads_are_read_and_never_unpickled(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (shared / "weights" / "lpips_squeeze.pth").read_bytes()
    evil = b"".join(pickle.dumps(Evil(), protocol=2) for _ in range(5))
    for name, damaged in (
        ("short", whole[:900]),
        ("cut", whole[:-4]),
        ("long", whole + b"x"),
        ("evil", evil),
        ("none", b""),
    ):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(WeightsError, match="get it anew"):
            squeezenet.heads(tmp_path / name)
    assert capsys.readouterr().out == ""
    with pytest.raises(WeightsError, match="get it anew"):
        squeezenet.heads(shared / "weights" / "lpips_vgg.pth")
