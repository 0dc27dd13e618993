"""The settings that the CLI is handed as managed ones, which win over a run's, a project's and a user's. Pure.

They are the image's own, as its maker put them into /etc/claude-code, and last of all the variables that policies set:
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
    """All files by name. `policy` has the policies' variables, with the values that they have in the container."""
    found = {name: content for name, content in of_image.items() if all(map(_NAME.fullmatch, name.split("/")))}
    if policy:
        longest = max((len(name) for name in found), default=0)
        found[f"{FOLDER}/{'z' * (longest + 1)}.json"] = json.dumps({"env": dict(policy)}).encode()
    return found
