"""One attempt, in the form in which it is written to its folder and read back. Pure: text and numbers only.

`render` turns an `AttemptPlan` into the files of `plan/`, which the supervisor (`attempt/supervisor/`) reads;
`Records` is the parsed form of what the supervisor wrote. `attempt/` does the reading and writing.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from stromboli import naming
from stromboli.models.agentrun import StepState
from stromboli.models.lifecycle import INIT_HOOKS, HookKind

Cause = Literal["completed", "failed", "timeout", "hooks-timeout", "no-progress", "cancelled"]

# The supervisor's own exit codes, as in attempt/supervisor/1-records.sh. The first is always the end of a failed
# attempt with a record; CLI_MISSING, ALREADY_STARTED and SECRET_MISSING come before any seal of this attempt is broken.
WORKDIR_UNUSABLE = 119
CLI_MISSING = 120
ALREADY_STARTED = 121
OUT_UNUSABLE = 122  # disk full or no write permission: before the seal, or with a record
SECRET_MISSING = 123

# Files of plan/ that are created here or beside the rendered ones, whose names `AttemptPlan.files` may not use.
RESERVED = frozenset({"busybox", "continue", "managed", "env", "seals", "steps", "supervisor"})

# The one of AttemptPlan.files that is read back: the hash of all hooks of the session.
HOOKS_FILE = "hooks"
# The one that the supervisor unpacks before the first step: the image's configuration of the CLI.
CONFIGURATION_FILE = "claude.tar"
# The folder of plan/ that is mounted where the CLI looks for managed settings.
MANAGED_FOLDER = "managed"

# What the CLI gets in place of a prompt that an earlier attempt has brought into the conversation.
CONTINUE = (
    "You were interrupted while you worked on this. Look at what is already done, then go on from there and finish it."
)
_CONTINUE_FILE = "continue"

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Hook:
    """One shell command, run by the image's own `/bin/sh -c`. `index` is its index within its kind."""

    kind: HookKind
    index: int
    command: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """The CLI's session ID, and that of the conversation that a fork continues; both UUIDs.

    The supervisor checks on the session's volume whether the conversation already exists.
    """

    id: str
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptPlan:
    """Everything that the supervisor needs for one attempt; times are in seconds.

    `secret_env` names the variables whose values are handed over, in this order; `secret_files` are the files that
    follow them, and `credentials` means that the credentials file comes last. `cli` is the program whose presence is
    checked first, and whose folder comes first on PATH; it is empty if the image has its own. `files` contains the
    prompt, which goes to the CLI's standard input, and the files that argv refers to; the supervisor adds the options
    for the `conversation`, if there is one. `withheld` are variables of the container that are not passed to the CLI.
    `managed` are files by their name below /etc/claude-code. `recalls` means that initial hooks of the session have
    run, which may have passed on something; `kept_env` are the administrators' variables, which hooks may not set. A
    `workdir` of None is the image's own. `continues` means that an earlier attempt of the same `run` (its UID) may have
    sent the prompt: if it is in the conversation, the CLI gets CONTINUE instead.
    """

    env: Mapping[str, str]
    secret_env: tuple[str, ...]
    credentials: bool
    workdir: str | None
    hooks: tuple[Hook, ...]
    conversation: Conversation | None
    argv: tuple[str, ...]
    cli: str
    timeout: float
    hooks_timeout: float | None
    grace: float
    files: Mapping[str, bytes]
    run: str
    withheld: tuple[str, ...] = ()
    managed: Mapping[str, bytes] = field(default_factory=dict)
    recalls: bool = False
    kept_env: tuple[str, ...] = ()
    continues: bool = False
    secret_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step that was taken. `hook` is a hook's kind or `agent`; times are aware, in UTC."""

    hook: str
    index: int
    state: StepState
    exit_code: int | None
    started_at: datetime | None
    finished_at: datetime | None
    tail: str


@dataclass(frozen=True, slots=True)
class EndRecord:
    """The supervisor's final record. `oom` is whether the container's cgroup counted an OOM kill."""

    cause: Cause
    exit_code: int
    oom: bool
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Records:
    """What an attempt left in `out/`. Hostile input: an agent may have written anything here.

    `continued` is whether the CLI got CONTINUE instead of the prompt.
    `written` is the size in bytes of the part of the CLI's output that is being written, and `written_at` when it grew
    last, by the node's clock; None if there is none.
    """

    started: bool
    sent: bool
    steps: tuple[StepRecord, ...]
    end: EndRecord | None
    stdout: bytes
    stderr_tail: str
    continued: bool = False
    written: int = 0
    written_at: datetime | None = None


def render(plan: AttemptPlan) -> dict[str, bytes]:
    """The files of `plan/` by name, without busybox and the supervisor. No secret is in them.

    Raises ValueError for a mistake of the caller: a NUL, or an invalid name of a variable or file.
    """
    for name in plan.files:
        if name in RESERVED or not _FILE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a file of an attempt's plan")
    if "prompt" not in plan.files:
        raise ValueError("an attempt's plan has no prompt")
    more = {_CONTINUE_FILE: CONTINUE.encode()} if plan.continues else {}
    return {**plan.files, **more, "env": _text(_env(plan)), "steps": _text(_steps(plan)), **_managed(plan)}


def _managed(plan: AttemptPlan) -> dict[str, bytes]:
    for name in plan.managed:
        if not all(map(_FILE_NAME.fullmatch, name.split("/"))):
            raise ValueError(f"{name!r} cannot be a file of the managed settings")
    return {f"{MANAGED_FOLDER}/{name}": content for name, content in plan.managed.items()}


def quote(text: str) -> str:
    """The text as one word of a POSIX shell. Raises ValueError for a NUL."""
    if "\0" in text:
        raise ValueError("no argument or variable of a process can have a NUL in it")
    return "'" + text.replace("'", "'\\''") + "'"


def _env(plan: AttemptPlan) -> Iterator[str]:
    """Read by each step, just before it becomes the program: nothing after it uses a variable by name.

    Secrets come first, while the supervisor's variables are still its own: one of these names could be among the rest.
    """
    for number, name in enumerate(plan.secret_env):
        yield f'export {_variable(name)}="$_secret_{number}"'
    for name, value in plan.env.items():
        if name not in plan.secret_env:
            yield f"export {_variable(name)}={quote(value)}"


def _steps(plan: AttemptPlan) -> Iterator[str]:
    yield f"_cli={quote(plan.cli)}"
    yield f"_workdir={quote(plan.workdir or '')}"
    yield f"_credentials={'1' if plan.credentials else ''}"
    yield f"_timeout={_seconds(plan.timeout)}"
    yield f"_hooks_timeout={'' if plan.hooks_timeout is None else _seconds(plan.hooks_timeout)}"
    yield f"_grace={_seconds(plan.grace)}"
    yield f"_withheld={quote(' '.join(plan.withheld))}"
    yield f"_planned={quote(' '.join(['', *map(_variable, (*plan.env, *plan.secret_env)), '']))}"
    yield f"_hands_on={'1' if plan.hooks or plan.recalls else ''}"
    yield f"_recalls={'1' if plan.recalls else ''}"
    yield f"_run_uid={quote(plan.run)}"
    yield f"_continues={'1' if plan.continues else ''}"
    yield from _rules(plan)
    yield "_read_secrets() {"
    yield "    :"
    for number, name in enumerate(plan.secret_env):
        yield f"    _secret {number} {_variable(name)}"
    for name in plan.secret_files:
        yield f"    _secret_file {quote(name)}"
    yield "}"
    yield "_steps() {"
    initial = [hook for hook in plan.hooks if hook.kind in INIT_HOOKS]
    for hook in plan.hooks:
        yield f"    _hook {hook.kind} {hook.index} {quote(hook.command)}"
        if initial and hook is initial[-1]:
            yield "    _remember_handed"
    program, *arguments = map(quote, plan.argv)
    if plan.conversation is not None:
        yield f"    _conversation {' '.join(_uuids(plan.conversation))}"
        arguments.insert(0, "$_talk")
    yield f"    _agent {' '.join([program, *arguments])}"
    yield "}"


def _rules(plan: AttemptPlan) -> Iterator[str]:
    """The variables that a hook may pass on: those that a spec may set, without those of administrators."""
    own = (*naming.OWN_ENV, f"{naming.OWN_ENV_PREFIX}*")
    loaders = (*naming.LOADER_ENV, *(f"{prefix}*" for prefix in naming.LOADER_ENV_PREFIXES))
    yield "_may_be_set() {"
    yield "    case $1 in"
    yield f"    {' | '.join(own)}) _why_not='is set by the operator; choose another name' ;;"
    yield f"    {' | '.join(loaders)}) _why_not='changes which code the agent loads and may not be set' ;;"
    if plan.kept_env:
        kept = " | ".join(map(_variable, plan.kept_env))
        yield f"    {kept}) _why_not='is set by an administrator and cannot be changed' ;;"
    yield "    _[a-z]*) _why_not='is a name of the supervisor; choose another' ;;"
    yield "    *) return 0 ;;"
    yield "    esac"
    yield "    return 1"
    yield "}"


def _uuids(conversation: Conversation) -> Iterator[str]:
    """Words that need no quoting in a shell."""
    for text in (conversation.id, conversation.parent):
        if text is not None:
            yield str(uuid.UUID(text))


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of an environment variable")
    return name


def _seconds(value: float) -> str:
    """A number as the shell's `read -t` accepts it: digits, without an exponent."""
    return f"{max(value, 0.0):.3f}"


def _text(lines: Iterator[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
