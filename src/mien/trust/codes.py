"""Error correction for a few bits under much noise: a check sum, and a tail-biting convolutional code.

Rate 1/4, constraint length 11, free distance 29 (Proakis & Salehi, Digital Communications, 5th ed., table 8.3-2; found again
by a test). A tail-biting code starts in the state in which it ends, so that a short word pays nothing for its ends
(Ma & Wolf 1986). Decoded by Viterbi's algorithm run round the circle (wrap-around, Shao, Lin & Fossorier 2003); the
check sum picks among the best paths and refuses noise.
"""

from __future__ import annotations

from binascii import crc_hqx

import numba
import numpy as np

from mien.types import Array

BITS = 48
CHECK = 16
MEMORY = 10
POLYNOMIALS = (0o2327, 0o2353, 0o2671, 0o3175)
WORD = BITS + CHECK
CODED = WORD * len(POLYNOMIALS)
TURNS = 3
PATHS = 64
"""How many ends of a circular path are tried before the word is given up."""


def encode(payload: int) -> Array:
    """The coded bits (bool, CODED) of a payload of BITS bits and its check sum."""
    assert 0 <= payload < 1 << BITS
    return _convolve(_with_check(payload))


def decode(soft: Array) -> int | None:
    """The payload in soft values (CODED floats; positive: the bit is likelier 1), or None where the check sum fails."""
    assert soft.shape == (CODED,)
    for bits in _viterbi(np.ascontiguousarray(soft, np.float32), _outputs(), MEMORY, TURNS, PATHS):
        payload = _number(bits[:BITS])
        if np.array_equal(_with_check(payload), bits):
            return payload
    return None


def _with_check(payload: int) -> Array:
    """Payload and CRC-16 (CCITT, from 0xffff, so that no word of zeros passes) as bits, the highest first."""
    check = crc_hqx(payload.to_bytes(BITS // 8, "big"), 0xFFFF)
    word = payload.to_bytes(BITS // 8, "big") + check.to_bytes(CHECK // 8, "big")
    return np.unpackbits(np.frombuffer(word, np.uint8)).astype(bool)


def _number(bits: Array) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _convolve(word: Array) -> Array:
    """A circular convolution modulo 2 with each polynomial, their outputs interleaved."""
    coded = np.zeros((len(word), len(POLYNOMIALS)), bool)
    for column, polynomial in enumerate(POLYNOMIALS):
        for delay in range(MEMORY + 1):
            if polynomial >> (MEMORY - delay) & 1:
                coded[:, column] ^= np.roll(word, delay)
    return coded.ravel()


def _outputs() -> Array:
    """For every content of the register (2^(MEMORY + 1); the newest bit highest) the four coded bits, as one number."""
    register = np.arange(1 << (MEMORY + 1))
    found = np.zeros(len(register), np.uint8)
    for polynomial in POLYNOMIALS:
        found = found << 1 | (np.bitwise_count(register & polynomial) & 1).astype(np.uint8)
    return found


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _viterbi(soft, outputs, memory, turns, paths):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The words of the best paths round the circle: paths x word bits; best end state first."""
    states = 1 << memory
    word = soft.size // 4
    metric = np.zeros(states, np.float32)
    after = np.zeros(states, np.float32)
    chosen = np.zeros((turns * word, states), np.uint8)
    branch = np.zeros(16, np.float32)
    for step in range(turns * word):
        at = step % word
        for pattern in range(16):
            total = np.float32(0)
            for j in range(4):
                value = soft[4 * at + j]
                total += value if pattern >> (3 - j) & 1 else -value
            branch[pattern] = total
        for state in range(states):  # the register is newest bit | older bits; a state is the newest MEMORY of them
            low = state << 1
            zero = metric[low & (states - 1)] + branch[outputs[low]]
            one = metric[(low | 1) & (states - 1)] + branch[outputs[low | 1]]
            after[state] = max(zero, one)
            chosen[step, state] = one > zero
        metric, after = after, metric
    order = np.argsort(-metric)[:paths]
    words = np.zeros((paths, word), np.bool_)
    for rank in range(paths):
        state = order[rank]
        for step in range(turns * word - 1, (turns - 1) * word - 1, -1):
            words[rank, step % word] = state >> (memory - 1)
            state = (state << 1 | chosen[step, state]) & (states - 1)
    return words
