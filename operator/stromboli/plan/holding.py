"""What an AgentImage's status says of an image that is on the node, and when it is checked again. Pure.

Here: the rank, labels that claim what is not so, the summary for `kubectl get`, refresh times. Not here: whether the
CLI can run in the image (compatibility.py) and what is in it (contents.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from stromboli import visible
from stromboli.plan import compatibility
from stromboli.plan.compatibility import CLINeeds, ImageFacts, Libc, Verdict
from stromboli.plan.contents import TOOLS, Contents

# Stromboli's labels: hints for people, which decide nothing but the order of compatible images.
LABEL_COMPATIBLE = "ai.stromboli.compatible"
LABEL_CLI = "ai.stromboli.claude-cli"
LABEL_TOOLS = "ai.stromboli.tools"
LABEL_DESCRIPTION = "ai.stromboli.description"
_SYNONYMS = {"golang": "go", "nodejs": "node", "python3": "python", "postgresql-client": "psql", "jdk": "java"}
SHOWN_TOOLS = 4  # in a column of a table
DESCRIPTION = 1024  # characters that are kept of it
PATH = 4096  # … and of a path or a platform
PLATFORM = 128
LABELS, LABEL_NAME, LABEL = 128, 256, 4096  # labels that are shown; characters of a name, and of a value
REFRESH = 6 * 3600.0  # seconds; the default
JITTER = 0.1  # of the interval, by which the refreshes of different images are spread


class Due(Enum):
    """What is to be asked of a registry about an image that is on the node."""

    NOTHING = "nothing"
    PULL = "pull"  # the object is new, or its spec has changed
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class Suitability:
    """How an image suits agents. `own_cli`: no CLI is mounted, and the image brings one."""

    verdict: Verdict
    own_cli: bool
    rank: int


def suitability(facts: ImageFacts, needs: CLINeeds | None, labels: Mapping[str, str]) -> Suitability:
    """The verdict on an image, and its rank. `needs` are those of the mounted CLI, None if images bring their own."""
    verdict = compatibility.judge_own_cli(facts) if needs is None else compatibility.judge(facts, needs)
    return Suitability(verdict, needs is None and verdict.ok, _rank(verdict.ok, facts, labels))


def _rank(ok: bool, facts: ImageFacts, labels: Mapping[str, str]) -> int:
    if not ok:
        return 4
    if labels.get(LABEL_COMPATIBLE) == "true":
        return 1
    return 2 if facts.claude is not None else 3


def untrue_labels(
    facts: ImageFacts, contents: Contents, suited: Suitability, labels: Mapping[str, str]
) -> tuple[str, ...]:
    """What the image's labels claim and what was found instead, one sentence each."""
    found = []
    if labels.get(LABEL_COMPATIBLE) == "true" and not suited.verdict.ok:
        found.append(f"the label {LABEL_COMPATIBLE}=true is not so: {suited.verdict.message}")
    if labels.get(LABEL_CLI) == "true" and facts.claude is None:
        found.append(f"the label {LABEL_CLI}=true is not so: the image has no `claude` on its PATH")
    missing = sorted(_claimed(labels) - {tool.name for tool in contents.tools})
    if missing:
        found.append(f"the label {LABEL_TOOLS} claims {', '.join(missing)}, which was not found in the image")
    return tuple(found)


def _claimed(labels: Mapping[str, str]) -> set[str]:
    """The tools that a label names, as far as they are ones that are looked for: `python,node:20` → python, node."""
    names = {re.split(r"[:=@ ]", word.strip())[0].lower() for word in labels.get(LABEL_TOOLS, "")[:4096].split(",")}
    return {_SYNONYMS.get(name, name) for name in names} & set(TOOLS)


def description(labels: Mapping[str, str]) -> str:
    """The image's own description, on one line."""
    return shown(" ".join(labels.get(LABEL_DESCRIPTION, "").split()), DESCRIPTION)


def labels(found: Mapping[str, str]) -> dict[str, str]:
    """The image's labels: the first ones by name, each up to a length."""
    names = sorted(name for name in found if len(name) <= LABEL_NAME)[:LABELS]
    return {name: found[name][:LABEL] for name in names}


def shown(text: str, most: int) -> str:
    """What an image says or has, for a status and for people: at most so many characters, none of which steers a
    terminal.
    """
    return visible.text(text[:most])[:most]


def libc_text(facts: ImageFacts) -> str:
    """The C library for people: `glibc 2.36`, empty if none was recognised."""
    return "" if facts.libc is Libc.UNKNOWN else f"{facts.libc} {facts.libc_version}".strip()


def tools_text(contents: Contents) -> str:
    """The most important tools for people: `python 3.12.4, git 2.39.5`."""
    shown = contents.tools[:SHOWN_TOOLS]
    more = f", {len(contents.tools) - SHOWN_TOOLS} more" if len(contents.tools) > SHOWN_TOOLS else ""
    return ", ".join(f"{tool.name} {tool.version}".strip() for tool in shown) + more


def size_text(size: int) -> str:
    """A size for people, as Podman prints it: `129 MB`, `1.02 GB`."""
    value, units = float(size), ("B", "kB", "MB", "GB", "TB")
    for unit in units:
        if value < 1000 or unit == units[-1]:
            return f"{value:.3g} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def refreshes_due(uid: str, created: datetime, interval: float, now: datetime) -> int:
    """How many refreshes of an image have been due since its object was created; `interval` in seconds.

    The times follow from the object alone, so they need not be stored and a restart changes nothing: each interval has
    one, at an offset that differs between objects.
    """
    return int(max(0.0, (now - created).total_seconds() - _offset(uid, interval)) // interval)


def until_refresh(uid: str, created: datetime, interval: float, now: datetime) -> float:
    """Seconds until the next refresh is due."""
    due = refreshes_due(uid, created, interval, now) + 1
    return max(0.0, due * interval + _offset(uid, interval) - (now - created).total_seconds())


def _offset(uid: str, interval: float) -> float:
    fraction = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big") / 2**32
    return fraction * interval * JITTER
