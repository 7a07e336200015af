"""faceswap-GAN: sizes of the networks, alpha, attention, timetable, the exchange of decoders, and that it learns."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mien.errors import SettingsError
from mien.nets.attention import SelfAttention
from mien.phases import Batch, Drawn, Moment, Phase, Side, at
from mien.systems import faceswap_gan
from mien.systems.faceswap_gan import Config

TINY = Config(width=8, latent=32, lr=2e-3)


def _batch(people: int = 2, count: int = 1, size: int = 64) -> Batch:
    """Smooth random faces, each read as it is to be drawn."""
    torch.manual_seed(5)

    def faces() -> Tensor:
        return nn.functional.interpolate(torch.rand(count, 3, 6, 6) * 1.6 - 0.8, size=size, mode="bicubic")

    pictures = [faces().clamp(-1, 1).contiguous(memory_format=torch.channels_last) for _ in range(people)]
    eyes = torch.zeros(count, 1, size, size)
    eyes[..., 20:28, 12:52] = 1
    return [Side(x, x, {"face": torch.ones_like(eyes), "eyes": eyes, "mouth": eyes}) for x in pictures]


def _macs(model: nn.Module, size: int) -> float:
    """Multiplications of one face, without those by the zeros that attention is padded with."""
    zeros = []

    def heed(module: nn.Module, inputs: tuple[Tensor, ...], answer: Tensor) -> None:
        _, channels, height, width = answer.shape
        zeros.append((height * width) ** 2 * (channels - channels // 8))

    for module in model.modules():
        if isinstance(module, SelfAttention):
            module.register_forward_hook(heed)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, size, size, device="meta"), 0)
    return counter.get_total_flops() / 2 - sum(zeros)


@pytest.mark.parametrize(
    "size, millions, gmacs, encoder, decoder",
    [(64, 73.2, 3.4, 59.1, 6.3), (128, 85.3, 6.2, 68.6, 6.5), (256, 97.4, 21.5, 78.0, 6.7)],
)
def test_size_is_the_fields(size: int, millions: float, gmacs: float, encoder: float, decoder: float) -> None:
    with torch.device("meta"):
        net = faceswap_gan.network(Config(size=size), 2)
    model = net.get_submodule("model")
    reading = _millions(model.get_submodule("encoder")) + _millions(model.get_submodule("inters"))
    assert _millions(net) == pytest.approx(millions, rel=0.005)
    assert reading == pytest.approx(encoder, rel=0.005)
    assert _millions(model.get_submodule("decoders.d0")) == pytest.approx(decoder, rel=0.01)
    assert round(_macs(model, size) / 1e9, 1) == gmacs


@pytest.mark.parametrize("change", [{}, {"lite": True}, {"attention": False}, {"norm": False}, {"pool": 2}])
@pytest.mark.parametrize("size", [64, 128])
def test_shapes_and_ranges(size: int, change: dict[str, bool]) -> None:
    net = faceswap_gan.network(dataclasses.replace(TINY, size=size, **change), 3)
    faces = torch.rand(2, 3, size, size) * 2 - 1
    with torch.no_grad():
        model = net["model"]
        drawn: Drawn = model.draw(model.encode(faces, 2), 2)
        shown: Drawn = model(faces, 2, swap=True)
        answer = net["critics"][2](drawn.rgb, faces)
    assert drawn.mask is not None
    assert drawn.rgb.shape == faces.shape
    assert drawn.rgb.abs().max() <= 1
    assert drawn.mask.shape == (2, 1, size, size)
    assert (drawn.mask - 0.5).abs().max() <= 0.5
    assert [side.shape[-1] for side in drawn.sides] == ([64] if size == 128 else [])
    assert answer.shape == (2, 1, 7, 7)
    assert shown.mask is None, "alpha says how much shows, not where the face ends"
    torch.testing.assert_close(shown.rgb, drawn.over(faces))


@pytest.mark.parametrize("pool", [1, 2])
def test_attention_is_its_formula(pool: int) -> None:
    torch.manual_seed(1)
    layer, x = SelfAttention(16, pool), torch.randn(2, 16, 6, 8)
    assert torch.equal(layer(x), x), "gamma starts at 0"
    layer.gamma.data.fill_(0.7)
    query, key, value = layer.query(x).flatten(2), layer.key(x), layer.value(x)
    key, value = (nn.functional.max_pool2d(part, pool).flatten(2) for part in (key, value))
    heard = value @ torch.softmax(query.mT @ key, -1).mT
    torch.testing.assert_close(layer(x), x + 0.7 * heard.view_as(x), atol=1e-5, rtol=1e-4)


def test_before_a_pixel_shuffle_four_pixels_are_alike() -> None:
    model = faceswap_gan.network(dataclasses.replace(TINY, norm=False), 1).get_submodule("model")
    up = model.get_submodule("inters.neck.1")
    with torch.no_grad():
        shown = up(torch.randn(1, 64 * 2, 4, 4))
    assert torch.equal(shown[..., ::2, ::2], shown[..., 1::2, 1::2])
    assert shown.std() > 0


def test_what_was_read_stays_where_alpha_is_zero() -> None:
    drawn, read = Drawn(torch.ones(1, 3, 2, 2), torch.tensor([[[[0.0, 1.0], [0.25, 0.5]]]])), -torch.ones(1, 3, 2, 2)
    expected = torch.tensor([[-1.0, 1.0], [-0.5, 0.0]]).expand(1, 3, 2, 2)
    torch.testing.assert_close(drawn.over(read), expected)


def test_timetable() -> None:
    """C3 of a run of 1000 steps: perceptual, least alpha, rate; and what presses on alpha."""
    phase = faceswap_gan.training(Config(), 2).phases[1]
    rows = {
        0: (0, 0, 1), 199: (0, 0, 1), 200: (1, 0, 1), 299: (1, 0, 1), 300: (1, 0.5, 1), 400: (1, 0.2, 1), 500: (1, 0.4, 1),
        666: (1, 0.4, 1), 667: (1, 0, 0.3), 800: (1, 0.1, 0.3), 899: (1, 0.1, 0.3), 900: (1, 0, 0.1), 1000: (1, 0, 0.1),
    }  # fmt: skip
    for step, (seen, least, rate) in rows.items():
        share = step / 1000
        assert at(phase.weights["perceptual"], share) == seen, step
        assert at(faceswap_gan.LEAST_ALPHA, share) == least, step
        assert at(phase.lr, share) == rate, step
        assert at(phase.weights["alpha_least"], share) == pytest.approx(0.1 if least else 0), step
        assert at(phase.weights["alpha"], share) == pytest.approx(0 if least else 0.01), step


def test_decoders_change_places_once_if_asked() -> None:
    assert faceswap_gan.training(dataclasses.replace(TINY, swap_decoders=False), 3).events == ()
    ((share, exchange),) = faceswap_gan.training(TINY, 3).events
    assert share == 4 / 5
    net = faceswap_gan.network(TINY, 3)
    decoders = net["model"].decoders
    before = [decoders[f"d{i}"].heads.weight.clone() for i in range(3)]
    encoder = net["model"].encoder.stages[0].weight.clone()
    exchange(net)
    for i in range(3):
        assert torch.equal(decoders[f"d{i}"].heads.weight, before[(i + 1) % 3])
    assert torch.equal(net["model"].encoder.stages[0].weight, encoder)


@pytest.mark.parametrize("adversary", faceswap_gan.ADVERSARIES)
@pytest.mark.parametrize("progress", [0.0, 0.5])
def test_phases_move_what_is_theirs(adversary: str, progress: float) -> None:
    config = dataclasses.replace(TINY, adversary=adversary)
    net, batch = faceswap_gan.network(config, 2), _batch()
    for phase in faceswap_gan.training(config, 2).phases:
        for name, p in net.named_parameters():
            p.requires_grad_(name.startswith(phase.parts))
            p.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            found = phase.losses(net, batch, Moment(0, progress))
        assert set(found) <= set(phase.weights)
        assert all(term.isfinite() and term.dtype == torch.float32 and term.ndim == 0 for term in found.values())
        assert ("perceptual" in found) == (phase.name == "model" and progress >= 0.2)
        _total(phase, found, progress).backward()
        assert all((p.grad is not None) == p.requires_grad for p in net.parameters())


def test_it_learns_two_pictures() -> None:
    """To a mean error below .02 of [0, 1], by all that the model learns from but the critic, which knows nothing yet."""
    torch.manual_seed(1)
    config = dataclasses.replace(TINY, width=16, latent=8, lite=True, attention=False, norm=False, perceptual=False)
    net, phase = faceswap_gan.network(config, 1), faceswap_gan.training(config, 1).phases[1]
    pictures = nn.functional.interpolate(torch.rand(2, 3, 2, 2) * 1.2 - 0.6, size=64, mode="bilinear")
    side = Side(pictures, pictures, {"eyes": torch.zeros(2, 1, 64, 64)})
    optimiser = torch.optim.Adam(net["model"].parameters(), 3e-3, (0.8, 0.99))
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, 80, 0.2)
    for step in range(110):
        optimiser.zero_grad()
        found = phase.losses(net, [side], Moment(step, 0.0))
        _total(phase, {name: term for name, term in found.items() if name != "adversary"}, 0.0).backward()
        optimiser.step()
        schedule.step()
    assert found["pixels"] < 0.02


@pytest.mark.parametrize("wrong", [{"size": 96}, {"adversary": "hinge"}, {"pool": 3}])
def test_settings_that_cannot_be(wrong: dict[str, str | int]) -> None:
    with pytest.raises(SettingsError, match="choose"):
        Config(**wrong)  # type: ignore[arg-type]


def _total(phase: Phase, found: dict[str, Tensor], progress: float) -> Tensor:
    return torch.stack([at(phase.weights[name], progress) * term for name, term in found.items()]).sum()


def _millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6
