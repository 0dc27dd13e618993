"""schemathesis takes the OpenAPI document at its word, and sends also what the document does not allow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.http_api import HttpApi
from tests.support.runs import Runs

SECONDS = 400  # at most for all its calls
EXAMPLES = 20  # of random requests to each operation
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="module")
def user(http_api: HttpApi, spaces: Callable[..., Runs]) -> HttpApi:
    """Of a namespace whose policy allows no image: each run is a real one, and refused at once."""
    space = spaces("http-nothing", own=True)
    space.policy("none", images={"allowed": ["registry.example/none:*"]})
    return http_api.user_of(space.namespace)


# The registries that the tests' Podman would search are out of reach, which is said as it should be.
UNANSWERED = """\
[[operations]]
include-name = "GET /images/search"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "502"]
"""


# The calls that run an agent have one body; what can be wrong with it is tried on one of them.
COVERAGE = ("--phases=coverage", "--exclude-path=/run/stream", "--exclude-path=/run/async")
RANDOM = ("--phases=examples,fuzzing", f"--max-examples={EXAMPLES}")


@pytest.mark.parametrize("phases", [COVERAGE, RANDOM], ids=["coverage", "random"])
def test_no_request_gets_an_answer_that_the_document_does_not_have(
    user: HttpApi, tmp_path: Path, phases: tuple[str, ...]
) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{user.base}/openapi.json",
        f"--header=Authorization: Bearer {user.token}",
        f"--checks={','.join(CHECKS)}",
        *phases,
        "--request-timeout=30",
        "--continue-on-failure",
        "--no-shrink",
        "--warnings=off",
        "--seed=1",
    ]
    (tmp_path / "schemathesis.toml").write_text(UNANSWERED)
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert " passed" in done.stdout, done.stdout[-5_000:]
