"""A stream's lines, however it is cut on its way."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stromboli import bounds
from stromboli.errors import ApiUnreachable
from stromboli.kube.user import Stream


class Pieces(Stream):
    """A stream that consists of these pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self._lost = lambda error: ApiUnreachable(str(error))

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


@given(st.lists(st.binary(min_size=1, max_size=8) | st.just(b"\n"), max_size=20))
def test_wherever_it_is_cut(pieces: list[bytes]) -> None:
    lines = b"".join(pieces).split(b"\n")
    assert list(Pieces(pieces).lines()) == (lines if lines[-1] else lines[:-1])


def test_a_long_line_takes_no_more_time_for_coming_in_many_pieces() -> None:
    """As they come from TLS. If each were added to what there is, it would take half a minute."""
    begun = time.process_time()
    [line] = Pieces([b"x" * 4096] * 4000).lines()
    assert len(line) == 4096 * 4000
    assert time.process_time() - begun < 2


def test_a_line_without_an_end() -> None:
    endless = iter(lambda: b"x" * 1024 * 1024, b"")
    with pytest.raises(ApiUnreachable, match="a line of the answer is too long"):
        next(Pieces(endless).lines())
    assert bounds.ANSWER.size < 64 * 1024 * 1024, "that much is read of it"
