"""The code of the mark: what it corrects, what it refuses, and that it is the code the literature names."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from mien.trust import codes
from mien.types import Array

PAYLOADS = (0, 1, (1 << 48) - 1, 0x0123456789AB, 1 << 47)


def received(payload: int, snr: float, rng: np.random.Generator) -> Array:
    """Soft values of a word whose total correlation is `snr` standard deviations of the noise."""
    signs = codes.encode(payload) * 2.0 - 1
    return signs * snr / np.sqrt(codes.CODED) + rng.normal(size=codes.CODED)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_is_encoded_is_decoded(payload: int) -> None:
    coded = codes.encode(payload)
    assert coded.shape == (codes.CODED,) == (256,)
    assert codes.decode(coded * 2.0 - 1) == payload
    assert codes.decode((coded * 2.0 - 1) * 1e-3) == payload, "the scale of soft values means nothing"


def test_a_seventh_of_the_bits_may_be_wrong() -> None:
    rng = np.random.default_rng(0)
    for payload in rng.integers(1 << 48, size=20).tolist():
        coded = codes.encode(payload)
        wrong = rng.permutation(codes.CODED)[: codes.CODED // 7]
        coded[wrong] ^= True
        assert codes.decode(coded * 2.0 - 1) == payload


def test_noise_is_corrected() -> None:
    """At a correlation of 14 standard deviations (an Eb/N0 of 1.9 dB) 95 of 100 words come through."""
    rng = np.random.default_rng(1)
    payloads = rng.integers(1 << 48, size=200).tolist()
    right = sum(codes.decode(received(payload, 14.0, rng)) == payload for payload in payloads)
    assert right >= 190
    assert sum(codes.decode(received(payload, 8.0, rng)) == payload for payload in payloads) < 100, "not by magic"


def test_noise_is_no_word() -> None:
    """The check sum lets one in 65,536 of the tried paths through; the correlation's threshold does the rest."""
    rng = np.random.default_rng(2)
    assert sum(codes.decode(rng.normal(size=codes.CODED)) is not None for _ in range(300)) <= 2


def test_the_code_is_linear_but_no_payload_is_all_zeros() -> None:
    a, b, c = (codes.encode(p) for p in (0b1100, 0b1010, 0b0110))
    np.testing.assert_array_equal(a ^ b ^ c, codes.encode(0))
    assert codes.encode(0).any()


def test_the_free_distance_is_29() -> None:
    """The lightest path that leaves the zero state and comes back (Dijkstra over the trellis)."""
    states = 1 << codes.MEMORY

    def step(state: int, bit: int) -> tuple[int, int]:
        register = bit << codes.MEMORY | state
        return register >> 1, sum((register & p).bit_count() & 1 for p in codes.POLYNOMIALS)

    first, weight = step(0, 1)
    best = np.full(states, 1 << 20)
    queue = [(weight, first)]
    while queue:
        weight, state = heapq.heappop(queue)
        if state == 0:
            break
        if weight >= best[state]:
            continue
        best[state] = weight
        for bit in (0, 1):
            after, more = step(state, bit)
            heapq.heappush(queue, (weight + more, after))
    assert (state, weight) == (0, 29)
