"""What the real supervisor keeps of an output, as it is read by offset while it is rotated."""

from __future__ import annotations

import sys
import time

from stromboli.attempt.outputs import output
from stromboli.attempt.tidy import tidy
from tests.support.supervised import Supervised, hooks, plan

# Lines of 16 bytes that say where they are, as fast as they are taken.
_LINES = "import sys; [sys.{}.write('%015d\\n' % (16 * n)) for n in range({})]"
_OF_A_HOOK = 1024 * 1024  # bytes that are kept of it at least, as in 1-records.sh


def numbered(begin: int, size: int) -> bytes:
    """Those lines, from this offset on."""
    first = begin // 16 * 16
    text = b"".join(b"%015d\n" % at for at in range(first, begin + size, 16))
    return text[begin - first : begin - first + size]


def followed(box: Supervised, name: str) -> int:
    """Read an output until the end of the attempt, checking every byte; how often its beginning moved."""
    at = moved = before = 0
    limit = time.monotonic() + box.PATIENCE
    ended = False
    while True:
        assert time.monotonic() < limit, f"waited {box.PATIENCE:.0f} s for the end of the attempt"
        ended = box.records().end is not None
        with output(box.out, name) as found:
            moved, before = moved + (found.begin != before), found.begin
            at = max(at, found.begin)
            data = found.part(at, at + 100_000)
        assert data == numbered(at, len(data))
        at += len(data)
        if ended and not data:
            break
    box.wait()
    return moved


def test_a_reader_finds_every_byte_at_its_offset_while_it_is_rotated(box: Supervised) -> None:
    box.start(plan(sys.executable, "-c", _LINES.format("stderr", 100_000)))  # ten times what is kept of it
    assert followed(box, "stderr") >= 5
    tidy(box.out)
    with output(box.out, "stderr") as found:
        assert found.end == 1_600_000
        assert 128 * 1024 <= found.end - found.begin <= 256 * 1024
        assert found.part(found.begin, found.end) == numbered(found.begin, found.end - found.begin)


def test_a_hook_s_output_is_rotated_like_the_agent_s(box: Supervised) -> None:
    command = f'{sys.executable} -c "{_LINES.format("stdout", 150_000)}"'
    box.start(plan(hooks=hooks(command)))
    assert followed(box, "postStart.0") >= 1
    with output(box.out, "postStart.0") as found:
        assert found.end == 2_400_000
        assert found.end - found.begin >= _OF_A_HOOK


def test_what_fits_is_never_rotated(box: Supervised) -> None:
    assert box.run(plan(sys.executable, "-c", _LINES.format("stdout", 1000))) == 0
    assert not list(box.out.glob("*.from"))
    with output(box.out, "stdout") as found:
        assert (found.begin, found.part(0, 20_000)) == (0, numbered(0, 16_000))
