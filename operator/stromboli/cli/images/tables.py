"""What `stromboli images` prints, from the documents of the read API. No text of an image or a registry steers a
terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stromboli.cli.tables import line, table
from stromboli.reasons import ImageCondition

_COLUMNS = ("IMAGE", "RANK", "COMPATIBLE", "LIBC", "TOOLS", "SIZE")
_FOUND = ("NAME", "OFFICIAL", "STARS", "ALLOWED", "DESCRIPTION")
_WIDTH = 14  # of a field's name


def images(rows: Sequence[Mapping[str, Any]], *, everything: bool = False) -> str:
    """The list as a table; with `everything`, it says which images are allowed."""
    if not rows:
        return (
            "no images that may be used here; `stromboli images search` finds some, `stromboli images pull` pulls them"
        )
    more = ("ALLOWED",) if everything else ()
    lines = [(*_COLUMNS, *more)]
    for row in rows:
        summary = row["summary"]
        cells = (
            row["image"],
            "-" if row["rank"] is None else str(row["rank"]),
            _compatible(row),
            summary["libc"] or "-",
            summary["tools"] or "-",
            summary["size"],
        )
        lines.append((*cells, _yes(row["allowed"])) if everything else cells)
    return table(lines)


def unknown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Why of some images nothing is known; empty if there are none."""
    return "\n".join(dict.fromkeys(str(row["message"]) for row in rows if row["compatible"] is None))


def image(told: Mapping[str, Any]) -> str:
    """What is in one image."""
    system, user = told["os"] or {}, told["user"]
    verdict = f"{_compatible(told)}: {told['message']}"
    fields = {
        "Image": told["image"],
        "Node": told["node"],
        "ID": told["id"],
        "Digest": told["digest"],
        "Built": told["created"],
        "Size": told["summary"]["size"],
        "Platform": told["platform"],
        "Description": told["description"],
        "Rank": "" if told["rank"] is None else str(told["rank"]),
        ImageCondition.Compatible: verdict,
        "A run here": f"is refused: {told['refusal']}" if told["refusal"] else "is admitted",
        "Libc": told["summary"]["libc"],
        "OS": system.get("name") or " ".join(filter(None, (system.get("id"), system.get("version")))),
        "User": user,
        "Shell": told["shell"],
        "Claude CLI": told["claudeCLI"],
    }
    lines = [f"{name + ':':<{_WIDTH}}{line(value) if value else '-'}" for name, value in fields.items()]
    lines += [f"{'Untrue:':<{_WIDTH}}{line(sentence)}" for sentence in told["untrueLabels"]]
    tools = [line(f"{tool['name']} {tool['version']}") for tool in told["tools"]]
    return "\n".join([*lines, "Tools:" if tools else f"{'Tools:':<{_WIDTH}}-", *(f"  {tool}" for tool in tools)])


def search(found: Sequence[Mapping[str, Any]]) -> str:
    """The results of all registries."""
    if not found:
        return "no registry has such an image"
    rows = [
        (row["name"], _yes(row["official"]), str(row["stars"]), _yes(row["allowed"]), row["description"])
        for row in found
    ]
    return table([_FOUND, *rows])


def _compatible(row: Mapping[str, Any]) -> str:
    if row["compatible"] is None:
        return "unknown" if row["summary"]["libc"] else "not inspected"
    return str(row["compatible"])


def _yes(value: object) -> str:
    return "yes" if value else "no"
