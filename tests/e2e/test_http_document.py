"""schemathesis takes the OpenAPI document at its word, and sends also what the document does not allow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.http_api import HttpApi
from tests.support.runs import Runs

SECONDS = 400  # at most for all its calls
EXAMPLES = 12  # of requests to each operation, beside those that it derives from the document
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)

# The registries that the tests' Podman would search are out of reach, which is said as it should be.
UNANSWERED = """\
[[operations]]
include-name = "GET /images/search"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "502"]
"""


def test_no_request_gets_an_answer_that_the_document_does_not_have(
    http_api: HttpApi, spaces: Callable[..., Runs], tmp_path: Path
) -> None:
    """In a namespace whose policy allows no image: each run is a real one, and refused at once."""
    space = spaces("http-nothing", own=True)
    space.policy("none", images={"allowed": ["registry.example/none:*"]})
    user = http_api.user_of(space.namespace)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{user.base}/openapi.json",
        f"--header=Authorization: Bearer {user.token}",
        f"--checks={','.join(CHECKS)}",
        f"--max-examples={EXAMPLES}",
        "--phases=examples,coverage,fuzzing",
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
