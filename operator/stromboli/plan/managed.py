"""The CLI's managed settings, which override those of a run, a project and a user. Pure.

They are the image's own, from its /etc/claude-code, and after those the variables that policies set:
of the files in managed-settings.d the last by name wins (tried on the CLI 2.1.332). Mounted read-only, so that an
agent cannot change them for the runs that come after it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

FOLDER = "managed-settings.d"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def files(of_image: Mapping[str, bytes], policy: Mapping[str, str]) -> dict[str, bytes]:
    """All files by name. `policy` are the policies' variables with their values in the container."""
    found = {name: content for name, content in of_image.items() if all(map(_NAME.fullmatch, name.split("/")))}
    if policy:
        longest = max((len(name) for name in found), default=0)
        found[f"{FOLDER}/{'z' * (longest + 1)}.json"] = json.dumps({"env": dict(policy)}).encode()
    return found
