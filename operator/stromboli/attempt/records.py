"""Reads what a supervisor and its agent left in `out/`. All of it is hostile input: the agent can write there.

Files are opened as in regular.py, with a bound on every size. Malformed input counts as absent and never raises. The
format is documented at the top of supervisor/1-records.sh.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast, get_args

from stromboli import visible
from stromboli.attempt import seals
from stromboli.attempt.regular import Regular, opened
from stromboli.models.agentrun import StepState
from stromboli.models.lifecycle import HookKind
from stromboli.plan.attempt import Cause
from stromboli.plan.attempt import EndRecord as EndRecord
from stromboli.plan.attempt import Records as Records
from stromboli.plan.attempt import StepRecord as StepRecord
from stromboli.plan.redaction import Secrets

AGENT = "agent"
RECORD = "record"  # the file of the supervisor's record
MAX_STDOUT = 10 * 1024 * 1024  # bytes
MAX_TAILS = 16 * 1024  # bytes of UTF-8, all steps together
MAX_STDERR_TAIL = 8 * 1024  # bytes
MAX_RECORD = 256 * 1024  # bytes

_MAX_STEPS = 256

_CLOCK = r"(?P<clock>[0-9]{1,11}\.[0-9]{1,9})"
_START = re.compile(rf"start {_CLOCK}")
_BEGIN = re.compile(rf"begin (?P<hook>{'|'.join(get_args(HookKind))}|{AGENT}) (?P<index>[0-9]{{1,4}}) {_CLOCK}")
_FINISH = re.compile(rf"finish (?P<code>[0-9]{{1,3}}) {_CLOCK}")
_END = re.compile(rf"end (?P<cause>{'|'.join(get_args(Cause))}) (?P<code>[0-9]{{1,3}}) (?P<oom>[0-9]{{1,9}}) {_CLOCK}")
_INPUT = re.compile(rf"input (?P<file>prompt|continue) {_CLOCK}")
_CONTINUATION = bytes(range(0x80, 0xC0))  # UTF-8 continuation bytes


def read(out: Path, secrets: Secrets, stdout_limit: int = MAX_STDOUT) -> Records:
    """All records, with `secrets` redacted from texts; `stdout` is the newest `stdout_limit` bytes, unredacted, and may
    begin in the middle of a line.

    `started` and `sent` come from the attempt's seals, not from anything an agent can write; both are False if `out`
    does not exist. Raises OSError if the folder cannot be opened, unless an agent took away its permissions. Blocks
    briefly.
    """
    if not os.path.lexists(out):
        return Records(False, False, (), None, b"", "")
    broken = seals.broken(out.parent)
    try:
        with opened(out) as folder:
            steps, end, continued = _parse(_tail(folder, RECORD, MAX_RECORD))
            written, written_at = _growth(folder, "stdout")
            return Records(
                started=broken.started,
                sent=broken.sent,
                steps=_with_tails(folder, steps, secrets),
                end=end,
                stdout=_segments(folder, "stdout", stdout_limit),
                stderr_tail=_text(folder, "stderr", MAX_STDERR_TAIL, secrets),
                continued=continued,
                written=written,
                written_at=written_at,
            )
    except (FileNotFoundError, PermissionError):
        return Records(broken.started, broken.sent, (), None, b"", "")


def steps(out: Path) -> Sequence[StepRecord]:
    """The steps that were taken so far, without their output. Raises and blocks as `read`."""
    try:
        with opened(out) as folder:
            return _parse(_tail(folder, RECORD, MAX_RECORD))[0]
    except (FileNotFoundError, PermissionError):
        return []


def journal(record: bytes) -> bytes:
    """The record as text for people, in lines of their own; what is added to it adds to the text."""
    lines = record[:MAX_RECORD].decode("ascii", "replace").split("\n")[:-1]
    step, told = "", []
    for line in lines:
        if match := _START.fullmatch(line):
            said = "the attempt began"
        elif match := _BEGIN.fullmatch(line):
            step = AGENT if match["hook"] == AGENT else f"{match['hook']}[{int(match['index'])}]"
            said = f"{step} began"
        elif (match := _FINISH.fullmatch(line)) and step:
            said = f"{step} ended with exit code {int(match['code'])}"
        elif match := _INPUT.fullmatch(line):
            said = "the prompt is sent" if match["file"] == "prompt" else "the conversation is continued"
        elif match := _END.fullmatch(line):
            said = f"the attempt ended: {match['cause']}, exit code {int(match['code'])}"
            said += "; processes were killed because its memory was used up" if int(match["oom"]) else ""
        else:
            continue
        if (at := _time(match)) is not None:
            told.append(f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z {said}\n")
    return "".join(told).encode("ascii")


# --- the record ---


def _parse(data: bytes) -> tuple[list[StepRecord], EndRecord | None, bool]:
    """Steps in order, the end, and whether the prompt was replaced. A line without its line feed is still being
    written, and ignored.
    """
    steps: list[StepRecord] = []
    end: EndRecord | None = None
    continued = False
    for line in data.decode("ascii", "replace").split("\n")[:-1]:
        if match := _BEGIN.fullmatch(line):
            _begin(steps, match)
        elif (match := _FINISH.fullmatch(line)) and steps:
            steps[-1] = _finished(steps[-1], match)
        elif match := _END.fullmatch(line):
            end = _ended(match) or end
        elif match := _INPUT.fullmatch(line):
            continued = match["file"] == "continue"
    return [_closed(step) for step in steps] if end else steps, end, continued


def _begin(steps: list[StepRecord], match: re.Match[str]) -> None:
    hook, index = match["hook"], int(match["index"])
    known = any((step.hook, step.index) == (hook, index) for step in steps)
    if not known and len(steps) < _MAX_STEPS:
        steps.append(StepRecord(hook, index, StepState.running, None, _time(match), None, ""))


def _finished(step: StepRecord, match: re.Match[str]) -> StepRecord:
    code = int(match["code"])
    if step.exit_code is not None or code > 255:
        return step
    state = StepState.succeeded if code == 0 else StepState.failed
    return replace(step, state=state, exit_code=code, finished_at=_time(match))


def _ended(match: re.Match[str]) -> EndRecord | None:
    code = int(match["code"])
    if code > 255:
        return None
    return EndRecord(cast(Cause, match["cause"]), code, int(match["oom"]) > 0, _time(match))


def _closed(step: StepRecord) -> StepRecord:
    """A step without a `finish` record counts as failed once the attempt has ended."""
    return replace(step, state=StepState.failed) if step.state is StepState.running else step


def _time(match: re.Match[str]) -> datetime | None:
    """The time of a record, in seconds since 1970 as the shell prints them; None if it is out of range."""
    seconds, fraction = match["clock"].split(".")
    try:
        whole = datetime.fromtimestamp(int(seconds), UTC)
    except (OverflowError, ValueError, OSError):
        return None
    return whole.replace(microsecond=int(fraction.ljust(6, "0")[:6]))


# --- output ---


def _with_tails(folder: int, steps: Sequence[StepRecord], secrets: Secrets) -> tuple[StepRecord, ...]:
    """Each step with its share of MAX_TAILS: the last, where a failure would be, gets as much as all others."""
    others = len(steps) - 1
    shares = [MAX_TAILS // 2 // max(others, 1)] * others + [MAX_TAILS // 2 if others else MAX_TAILS]
    return tuple(
        replace(step, tail=_text(folder, _output(step), share, secrets))
        for step, share in zip(steps, shares, strict=False)
    )


def _output(step: StepRecord) -> str:
    return "stderr" if step.hook == AGENT else f"{step.hook}.{step.index}"


def _segments(folder: int, name: str, limit: int) -> bytes:
    """The newest `limit` bytes of an output, of which `name` has the newest part and `name.old` the part before it.

    The newer file is opened first: if it is rotated in between, it is found twice, and nothing is missed.
    """
    newer, older = Regular.open(folder, name), Regular.open(folder, f"{name}.old")
    try:
        last = newer.tail(limit) if newer else b""
        if older is None or (newer is not None and newer.same(older)):
            return last
        return older.tail(limit - len(last)) + last
    finally:
        for segment in (newer, older):
            if segment is not None:
                segment.close()


def _growth(folder: int, name: str) -> tuple[int, datetime | None]:
    """The size of the newest part of an output, and when it was last written to; None if it does not exist."""
    file = Regular.open(folder, name)
    if file is None:
        return 0, None
    file.close()
    try:
        return file.found.st_size, datetime.fromtimestamp(file.found.st_mtime, UTC)
    except (OverflowError, ValueError, OSError):  # an agent may set any time
        return file.found.st_size, None


def _tail(folder: int, name: str, limit: int) -> bytes:
    file = Regular.open(folder, name)
    if file is None:
        return b""
    try:
        return file.tail(limit)
    finally:
        file.close()


def _text(folder: int, name: str, limit: int, secrets: Secrets) -> str:
    """The end of an output, at most `limit` bytes. More is read, so that a secret across the cut is found whole."""
    reach = limit + 4 * secrets.longest  # a character takes up to four bytes
    data = _segments(folder, name, reach)
    return _harmless(data, limit, secrets, cut=len(data) >= reach)


def _harmless(data: bytes, limit: int, secrets: Secrets, *, cut: bool) -> str:
    """The end of `data` as text, without secrets and control characters, cut between characters."""
    if cut:  # it may begin in the middle of a character
        data = data[:3].lstrip(_CONTINUATION) + data[3:]
    lines = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    clean = visible.text(secrets.tail(lines, limit, cut=cut))
    return clean.encode()[-limit:].decode("utf-8", "ignore")  # escaping makes it longer
