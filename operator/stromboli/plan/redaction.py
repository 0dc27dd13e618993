"""The values of secrets, taken out of what goes into a status: a hook or an agent can print what it was given. Pure.

Only exact values are found. Who encodes a secret before printing it gets it past this, as past any such filter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from stromboli.plan.attempt import Records
from stromboli.plan.outcome import Outcome

SHORTEST = 8  # characters: what is shorter is found in every other text
MASK = "***"


def values(env: Mapping[str, bytes], credentials: bytes | None) -> tuple[str, ...]:
    """All that has to stay secret of Claude's credentials: variables, and the strings of the CLI's own file."""
    found = {value.decode("utf-8", "replace") for value in env.values()}
    if credentials is not None:
        try:
            found |= set(_strings(json.loads(credentials)))
        except (ValueError, RecursionError):
            found.add(credentials.decode("utf-8", "replace"))
    # The longest first: one may be the beginning of another.
    return tuple(sorted((v for v in found if len(v) >= SHORTEST), key=len, reverse=True))


def text(said: str, secrets: Iterable[str]) -> str:
    """A text without them."""
    for secret in secrets:
        said = said.replace(secret, MASK)
    return said


def records(found: Records, secrets: tuple[str, ...]) -> Records:
    """The tails of an attempt's steps without them."""
    steps = tuple(replace(step, tail=text(step.tail, secrets)) for step in found.steps)
    return replace(found, steps=steps, stderr_tail=text(found.stderr_tail, secrets))


def outcome(ended: Outcome, secrets: tuple[str, ...]) -> Outcome:
    """How an attempt ended, its answer included, without them."""
    answer = ended.answer
    if answer is not None:
        structured = _deep(answer.structured, secrets)
        answer = replace(answer, text=text(answer.text, secrets), structured=structured)
    return replace(ended, message=text(ended.message, secrets), answer=answer)


def _deep(value: Any, secrets: tuple[str, ...]) -> Any:
    """A JSON value with its strings, keys included, without them. Bounded: plan/answer.py takes no deeper ones."""
    if isinstance(value, str):
        return text(value, secrets)
    if isinstance(value, list):
        return [_deep(item, secrets) for item in value]
    if isinstance(value, dict):
        return {text(key, secrets): _deep(item, secrets) for key, item in value.items()}
    return value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
