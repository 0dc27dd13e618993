"""An attempt after one whose prompt may have been sent: the prompt, or to continue, by what is in the conversation."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stromboli.plan.attempt import CONTINUE, Conversation
from tests.support.supervised import Supervised, plan
from tests.support.waiting import eventually

OWN, PARENT = "11111111-2222-4333-8444-555555555555", "66666666-7777-4888-8999-aaaaaaaaaaaa"
FIRST, SECOND = "7f1c2c2e-0000-4000-8000-000000000001", "7f1c2c2e-0000-4000-8000-000000000002"
PROMPT = "say hello"
LIMIT = 60.0
START, RESUME = ["--session-id", OWN], ["--resume", OWN]
FORK = ["--resume", PARENT, "--fork-session", "--session-id", OWN]


def _line(kind: str, identifier: str) -> str:
    message = {"role": kind, "content": PROMPT}
    return json.dumps({"type": kind, "message": message, "uuid": identifier}, separators=(",", ":"))


def said(identifier: str = "") -> str:
    """A prompt, or the result of a tool, as the CLI records it."""
    return _line("user", identifier or str(uuid.uuid4()))


ANSWER = _line("assistant", str(uuid.uuid4()))
# What the CLI records without a prompt, or before it (seen: 2.1.332).
NOTES = (
    '{"type":"mode","mode":"normal","sessionId":"x"}',
    '{"type":"queue-operation","operation":"enqueue","content":"what is \\"type\\":\\"user\\"?"}',
    '{"type":"cost-state","totalCostUSD":0}',
)


class Talk:
    """The attempts of one session's runs, with a CLI that records what it is told to."""

    def __init__(self, box: Supervised) -> None:
        self.box = box
        self._number = 0

    @property
    def note(self) -> Path:
        return self.box.root / "session/asked"

    def file(self, conversation: str = OWN) -> Path:
        return self.box.root / "session/claude/projects/-work" / f"{conversation}.jsonl"

    def has(self, *lines: str, conversation: str = OWN) -> None:
        """What is on the volume before the next attempt."""
        self.file(conversation).parent.mkdir(parents=True, exist_ok=True)
        self.file(conversation).write_text("".join(f"{line}\n" for line in lines))

    def attempt(
        self, *lines: str, run: str = FIRST, continues: bool = False, parent: str | None = None
    ) -> tuple[str, list[str]]:
        """One attempt, whose CLI adds `lines` to its conversation: what it got, and its options."""
        if self._number:
            self.box.hand_over_again()
        self._number += 1
        cli, file = self.box.root / f"cli-{self._number}", shlex.quote(str(self.file()))
        text = shlex.quote("".join(f"{line}\n" for line in lines))
        cli.write_text(f'#!/bin/sh\necho "$@"; cat; mkdir -p "$(dirname {file})"; printf %s {text} >>{file}\n')
        cli.chmod(0o755)
        files = {"prompt": PROMPT.encode()}
        what = plan(str(cli), run=run, continues=continues, conversation=Conversation(OWN, parent), files=files)
        assert self.box.run(what) == 0, self.box.records()
        found = self.box.records()
        options, _, got = found.stdout.decode().partition("\n")
        assert found.continued is (got == CONTINUE)
        return got, options.split()


@pytest.fixture
def talk(box: Supervised) -> Talk:
    return Talk(box)


def test_what_has_the_prompt_is_continued(talk: Talk) -> None:
    assert talk.attempt(*NOTES, said(), ANSWER) == (PROMPT, START)
    assert talk.attempt(continues=True) == (CONTINUE, RESUME)
    assert talk.attempt(continues=True) == (CONTINUE, RESUME), "nothing new was said in the second"


def test_an_attempt_that_may_not_continue_gets_its_prompt(talk: Talk) -> None:
    talk.attempt(said())
    assert talk.attempt() == (PROMPT, RESUME)


def test_notes_alone_are_no_prompt_and_such_a_conversation_is_begun_anew(talk: Talk) -> None:
    """The CLI could not resume it, nor use its identifier again."""
    talk.attempt(*NOTES)
    assert talk.attempt(*NOTES, said(), continues=True) == (PROMPT, START)
    assert talk.attempt(continues=True) == (CONTINUE, RESUME)


def test_neither_is_a_prompt_that_was_not_written_to_its_end(talk: Talk) -> None:
    talk.attempt(*NOTES, said()[:-10])
    assert talk.attempt(continues=True) == (PROMPT, START)


def test_what_was_said_before_this_run_does_not_count(talk: Talk) -> None:
    talk.has(said(), ANSWER)
    assert talk.attempt(*NOTES) == (PROMPT, RESUME)
    assert talk.attempt(*NOTES, continues=True) == (PROMPT, RESUME)
    assert talk.attempt(said(), continues=True) == (PROMPT, RESUME)
    assert talk.attempt(continues=True) == (CONTINUE, RESUME)


def test_another_runs_attempts_in_between_make_the_note_void(talk: Talk) -> None:
    talk.attempt(said())
    assert talk.attempt(said(), run=SECOND) == (PROMPT, RESUME)
    assert talk.attempt(continues=True) == (PROMPT, RESUME)
    assert talk.attempt(said(), continues=True) == (PROMPT, RESUME), "its own note again, and nothing said since"
    assert talk.attempt(continues=True) == (CONTINUE, RESUME)


def test_of_a_fork_the_copy_does_not_count(talk: Talk) -> None:
    """What is only a copy may be a part of it: the fork is made again."""
    copied = [said(str(uuid.uuid4())), said(str(uuid.uuid4()))]
    talk.has(*copied, ANSWER, conversation=PARENT)
    assert talk.attempt(*NOTES, copied[0], parent=PARENT) == (PROMPT, FORK)
    assert talk.attempt(*copied, ANSWER, continues=True, parent=PARENT) == (PROMPT, FORK)
    assert talk.attempt(*copied, ANSWER, said(), continues=True, parent=PARENT) == (PROMPT, FORK)
    assert talk.attempt(continues=True, parent=PARENT) == (CONTINUE, RESUME)


def test_a_conversation_without_messages_is_not_forked(talk: Talk) -> None:
    talk.has(*NOTES, conversation=PARENT)
    assert talk.attempt(parent=PARENT) == (PROMPT, START)


def test_without_a_conversation_there_is_only_the_prompt(box: Supervised) -> None:
    assert box.run(plan("/bin/cat", continues=True, files={"prompt": PROMPT.encode()})) == 0
    assert (box.records().stdout, box.records().continued) == (PROMPT.encode(), False)


@pytest.mark.parametrize(
    "text", ["", f"{FIRST}", f"{FIRST} -1", f"{FIRST} {'9' * 40}", f"{FIRST} $(reboot)", f"{SECOND} 0", "\0" * 1000]
)
def test_a_note_that_says_nothing_counts_as_none(talk: Talk, text: str) -> None:
    talk.attempt(said())
    talk.note.write_text(text)
    assert talk.attempt(continues=True) == (PROMPT, RESUME)


@pytest.mark.parametrize(
    "make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to("nowhere")]
)
def test_anything_in_the_notes_place_is_replaced(talk: Talk, make: Callable[[Path], object]) -> None:
    talk.attempt(said())
    talk.note.unlink()
    make(talk.note)
    assert talk.attempt(said(), continues=True) == (PROMPT, RESUME)
    assert talk.attempt(continues=True) == (CONTINUE, RESUME)


def test_a_conversation_of_many_megabytes_without_a_line_is_not_read_whole(talk: Talk) -> None:
    talk.has()
    with talk.file().open("r+b") as file:
        file.truncate(1 << 40)
    assert talk.attempt() == (PROMPT, RESUME)


# --- the real CLI ---


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables with which the CLI talks to the stand-in."""
    socket = tmp_path / "api.sock"
    arguments = ["--socket", str(socket), "--log", str(tmp_path / "requests")]
    python = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    process = subprocess.Popen(
        [sys.executable, "-m", "stromboli.standin", *arguments], env=python, stdout=subprocess.DEVNULL
    )
    try:
        eventually(socket.exists, "the stand-in's socket", lambda: process.poll())
        yield {
            "PATH": os.defpath,
            "HOME": str(tmp_path),
            "IS_SANDBOX": "1",
            "ANTHROPIC_UNIX_SOCKET": str(socket),
            "ANTHROPIC_BASE_URL": "http://standin",
            "ANTHROPIC_API_KEY": "none",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }
    finally:
        process.terminate()
        process.wait(LIMIT)


@dataclass(frozen=True, slots=True)
class Real:
    """Attempts with the real CLI, which work in `folder`."""

    box: Supervised
    claude: Path
    environ: dict[str, str]
    folder: Path

    @property
    def file(self) -> Path:
        """Where the CLI records the conversation."""
        project = str(self.folder).replace("/", "-").replace("_", "-")
        return self.box.root / "session/claude/projects" / project / f"{OWN}.jsonl"

    def start(self, prompt: str, *, continues: bool = False) -> None:
        what = plan(
            *(str(self.claude), "--print", "--output-format", "stream-json", "--verbose"),
            workdir=str(self.folder),
            conversation=Conversation(OWN),
            files={"prompt": prompt.encode()},
            continues=continues,
        )
        self.box.start(what, self.environ)

    def has(self, text: str) -> None:
        """Wait until this is in the conversation."""
        self.box.until(f"{text!r} in the conversation", lambda: self.file.exists() and text in self.file.read_text())

    def cancel(self) -> None:
        self.box.signal(signal.SIGTERM)
        self.box.wait()


@pytest.fixture
def real(box: Supervised, claude: Path, environ: dict[str, str], tmp_path: Path) -> Real:
    return Real(box, claude, environ, tmp_path)


def test_the_real_cli_is_continued_after_it_ended_with_its_prompt_sent(real: Real) -> None:
    real.start("SLEEP{600}")
    real.has('"type":"user"')
    real.cancel()
    assert not real.box.records().continued
    real.box.hand_over_again()
    real.start("SLEEP{600}", continues=True)
    real.has(CONTINUE)
    assert real.box.records().continued
    real.cancel()
    assert real.file.read_text().count('"operation":"enqueue"') == 2


def test_the_real_cli_begins_anew_what_has_nothing_but_its_notes(real: Real) -> None:
    real.start("ECHO{hello}")
    assert real.box.wait() == 0
    whole = real.file.read_text().splitlines(keepends=True)
    first = next(number for number, line in enumerate(whole) if '"type":"user"' in line)
    assert first > 0, "there are notes before the prompt"
    real.file.write_text("".join(whole[:first]))
    real.box.hand_over_again()
    real.start("ECHO{hello}", continues=True)
    assert real.box.wait() == 0, real.box.records()
    assert not real.box.records().continued
    assert b'"result":"hello"' in real.box.records().stdout
