"""The AgentRuns that requests make, as a real API server takes them: what it would refuse is refused before, by the
request's names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from lightkube import Client

from stromboli.httpapi.errors import Refusal
from stromboli.httpapi.shapes.run import parse_run
from stromboli.httpapi.translate.request import manifest
from stromboli.kube.kinds import AgentRun
from tests.support.http_requests import OPTIONS, TRANSLATED, singles
from tests.support.runs import make_namespace

SPACE = "http-requests"
Take = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def take(installed: None, administrator: Client) -> Take:
    """Has the API server check the run of a request. Raises Refusal, ApiError."""
    make_namespace(administrator, SPACE)

    def taken(body: dict[str, Any]) -> None:
        request = parse_run(json.dumps({"prompt": "x", **body}).encode(), webhook=True)
        run = manifest(request, name="run-1", namespace=SPACE, session={"name": "s"})
        administrator.create(AgentRun.from_dict(run), dry_run=True)

    return taken


def test_each_field_is_taken(take: Take) -> None:
    for body, _ in TRANSLATED:
        take(body)
    for claude, _ in OPTIONS:
        take({"claude": claude})


def test_what_is_not_refused_before_is_taken(take: Take) -> None:
    taken = refused = 0
    for body in singles():
        try:
            take(body)
            taken += 1
        except Refusal as e:
            assert e.error, body  # noqa: PT017
            refused += 1
    assert taken > 100
    assert refused > 100
