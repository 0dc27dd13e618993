"""What the read API says of images, in Stromboli's shapes. Pure. What is not as expected raises ValueError, LookupError
or TypeError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any

from stromboli.grammar import reference
from stromboli.httpapi.shapes.image import (
    FoundInside,
    FoundLibc,
    FoundSystem,
    FoundTool,
    ImageDetail,
    ImageInfo,
    SearchResult,
)

Document = Mapping[str, Any]

_NO_TAG = "<none>"  # as Podman says it
_LAST = 5  # sorted like a rank: where it is not known
_CUT = 44  # characters of a description, as Podman cuts them
_RANKS = {
    1: "compatible, and labelled so",
    2: "compatible, with a Claude CLI of its own",
    3: "compatible",
    4: "not compatible: the Claude CLI cannot run in it",
    None: "not known",
}


def images(rows: Iterable[Document]) -> list[ImageInfo]:
    """The entries of a list, by rank, repository and tag."""
    return sorted((ImageInfo(**_info(row)) for row in rows), key=_order)


def detail(found: Document) -> ImageDetail:
    """What is in an image."""
    return ImageDetail(
        **_info(found),
        digest=found["digest"],
        labels=found.get("labels") or {},
        rank_description=_RANKS.get(found["rank"], _RANKS[None]),
        found=FoundInside(
            platform=found["platform"],
            libc=FoundLibc(**found["libc"]),
            os=None if found["os"] is None else FoundSystem(**found["os"]),
            shell=found["shell"],
            claude_cli=found["claudeCLI"],
            user=found["user"],
            tools=[FoundTool(**tool) for tool in found["tools"]],
        ),
        message=found["message"],
        refusal=found["refusal"],
        untrue_labels=found["untrueLabels"],
    )


def results(found: Iterable[Document], limit: int, *, whole: bool) -> list[SearchResult]:
    """The first results of a search; each registry's best come first. Descriptions are cut unless `whole`."""
    by_registry: dict[str, list[Document]] = {}
    for row in found:
        by_registry.setdefault(row["registry"], []).append(row)
    rows = [row for best in zip_longest(*by_registry.values()) for row in best if row is not None]
    return [_result(row, whole) for row in rows[:limit]]


def image_id(bare: str) -> str:
    """An image's id as it is answered."""
    return f"sha256:{bare}" if bare and ":" not in bare else bare


def _info(row: Document) -> dict[str, Any]:
    name = reference.parse(row["image"])
    return {
        "id": image_id(row["id"]),
        "repository": name.name,
        "tag": name.tag or _NO_TAG,
        "size": row["size"],
        "created": row["created"],
        "compatibility_rank": row["rank"],
        "compatible": row["compatible"] is True,
        "tools": [tool["name"] for tool in row.get("tools") or ()],
        "has_claude_cli": bool(row.get("claudeCLI")),
        "description": row.get("description") or "",
    }


def _order(image: ImageInfo) -> tuple[int, str, str]:
    return (_LAST if image.compatibility_rank is None else image.compatibility_rank, image.repository, image.tag)


def _result(row: Document, whole: bool) -> SearchResult:
    text = row["description"]
    return SearchResult(
        index=row["registry"],
        name=row["name"],
        description=text if whole or len(text) <= _CUT else f"{text[:_CUT]}...",
        stars=row["stars"],
        official=row["official"],
        automated=row["automated"],
    )
