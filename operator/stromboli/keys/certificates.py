"""What the keys are, and how they are created: by `sign`, in a process of its own.

That process has the `cryptography` library, which would otherwise take a tenth of the operator's memory for as long as
it runs. Keys get there by its standard input, which nobody else on the machine can read.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from stromboli import bounds, childprocess
from stromboli.errors import LocalFailure

AUTHORITY_LIFE = timedelta(days=20 * 365)  # of which all that trusts it would have to be told
LEAF_LIFE = timedelta(days=90)
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Authority:
    """The certificate and the key of a CA, both PEM."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Leaf:
    """A key and its certificate in one PEM text, valid from `since` until `until`."""

    chain: str
    since: datetime
    until: datetime

    def is_worn(self, now: datetime) -> bool:
        """Whether half of its life is over, so that there is much time to replace it."""
        return now - self.since >= (self.until - self.since) / 2


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose certificate it is: its common name, the names and addresses that it is for, and whether it is a client."""

    common: str
    hosts: tuple[str, ...]
    client: bool


async def new_authority() -> Authority:
    """A new CA. Raises LocalFailure."""
    made = await _signed({})
    return Authority(made["certificate"], made["key"])


async def new_leaf(authority: Authority, subject: Subject) -> Leaf:
    """A new certificate of that CA. Raises LocalFailure, also where the CA's own PEM is not valid."""
    asked = {
        "authority": {"certificate": authority.certificate, "key": authority.key},
        "common": subject.common,
        "hosts": list(subject.hosts),
        "client": subject.client,
    }
    made = await _signed(asked)
    return Leaf(made["chain"], datetime.fromisoformat(made["since"]), datetime.fromisoformat(made["until"]))


async def _signed(asked: Mapping[str, Any]) -> Mapping[str, str]:
    """What `sign` answers."""
    printed = await _output([sys.executable, "-P", "-m", "stromboli.keys.sign"], json.dumps(asked).encode("ascii"))
    try:
        made: Mapping[str, str] = bounds.json_document(printed, bounds.DOCUMENT)
    except ValueError as e:
        raise LocalFailure(f"a certificate could not be created: {e}") from e
    return made


async def _output(command: Sequence[str], given: bytes) -> bytes:
    try:
        ended = await childprocess.run(command, given, seconds=_SECONDS)
    except TimeoutError as e:
        raise LocalFailure(f"a certificate could not be created within {_SECONDS:.0f} s") from e
    except OSError as e:
        raise LocalFailure(f"a certificate could not be created: {e}") from e
    if ended.exit_code != 0:
        raise LocalFailure(f"a certificate could not be created: {ended.last_words(f'exit code {ended.exit_code}')}")
    return ended.output
