"""The parsing network as it ships."""

from __future__ import annotations

import hashlib

import torch

from mien import weights
from mien.faces.segment import CLASSES
from mien.nets.parsing import Config, ParsingNet


def test_the_network_is_small_and_answers_at_half_the_side() -> None:
    net = ParsingNet().eval()
    assert sum(p.numel() for p in net.parameters()) <= 1_000_000
    assert Config().classes == len(CLASSES)
    with torch.no_grad():
        assert net(torch.zeros(2, 3, 64, 64)).shape == (2, len(CLASSES), 32, 32)


def test_the_file_is_the_card_s() -> None:
    card = weights.cards()["parsing"]
    content = (weights.ASSETS / card.file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == card.sha256
    assert card.size == len(content) <= 3_000_000
    assert card.gate.keys() <= {"odds"}
