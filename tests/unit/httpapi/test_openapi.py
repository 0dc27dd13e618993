"""The OpenAPI document in the repository is the application's, and the page that shows it."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2

from stromboli.httpapi import app, openapi

ROOT = Path(__file__).parents[3]


def test_the_document_in_the_repository_is_the_applications() -> None:
    assert (ROOT / openapi.FILE).read_text() == openapi.text(app.document()), "run `make crds`"


async def test_the_page_for_people_runs_no_program_but_the_one_that_is_known(client: httpx2.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r"<(?:script|link)[^>]*https:[^>]*>", page.text)
    assert len(loaded) == 2
    known = re.compile(r'@[0-9.]+/.*integrity="sha384-[A-Za-z0-9+/]{64}" crossorigin="anonymous"')
    assert [one for one in loaded if not known.search(one)] == []
