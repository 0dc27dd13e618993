"""Frames of a container's output, however they are cut into pieces, and the end of a long output."""

from __future__ import annotations

import pytest

from stromboli.podman.frames import Frames, Tail


def frame(data: bytes, stream: int = 1) -> bytes:
    return bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big") + data


SENT = frame(b"out\n") + frame(b"") + frame(b"err\n", 2) + frame(bytes(range(256)))


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 13, 300])
def test_the_data_is_the_same_however_it_is_cut(size: int) -> None:
    frames = Frames()
    pieces = [SENT[at : at + size] for at in range(0, len(SENT), size)]
    assert b"".join(map(frames.data, pieces)) == b"out\nerr\n" + bytes(range(256))


def test_a_frame_that_is_cut_off_has_what_came_of_it() -> None:
    assert Frames().data(frame(b"whole") + frame(b"half")[:-2]) == b"wholeha"


def test_the_end_of_a_long_output_begins_with_a_whole_line() -> None:
    tail = Tail(12)
    for data in (b"first\n", b"second\n", b"third\n"):
        tail.add(data)
    assert (tail.text, tail.size) == ("third\n", 19)


@pytest.mark.parametrize(
    ("said", "text"),
    [(b"", ""), (b"short", "short"), (b"0123456789abcdef", "456789abcdef"), (b"x" * 9 + b"\n" * 4, "\n" * 3)],
)
def test_a_short_output_is_kept_and_a_long_line_s_end(said: bytes, text: str) -> None:
    tail = Tail(12)
    tail.add(said)
    assert tail.text == text


def test_what_is_not_utf_8_is_replaced() -> None:
    tail = Tail(4)
    tail.add(b"\xff\xfea")
    assert tail.text == "��a"
