"""The OpenAPI document in the repository is the application's."""

from __future__ import annotations

from pathlib import Path

from stromboli.httpapi import app, openapi

ROOT = Path(__file__).parents[3]


def test_the_document_in_the_repository_is_the_applications() -> None:
    assert (ROOT / openapi.FILE).read_text() == openapi.text(app.document()), "run `make crds`"
