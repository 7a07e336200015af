"""Several threads give what one would, in order, and read only a little ahead."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mien.parallel import ordered


def test_ordered_keeps_the_order_and_passes_errors_on() -> None:
    def slow_when_even(number: int) -> int:
        time.sleep(0.002 * (number % 2 == 0))
        if number == 30:
            raise ValueError("thirty")
        return number

    assert list(ordered(slow_when_even, range(20), 3, 5)) == list(range(20))
    with pytest.raises(ValueError, match="thirty"):
        list(ordered(slow_when_even, range(40), 3, 5))


def test_ordered_reads_only_a_little_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = ordered(lambda n: n, items(), 1, 4)
    assert next(results) == 0
    assert len(taken) < 10
    results.close()  # type: ignore[attr-defined]
