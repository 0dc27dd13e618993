"""Runs an agent by HTTP, and prints what it says while it works: `python3 client.py PROMPT`.

Nothing but Python is needed. STROMBOLI_URL says where the HTTP API is. STROMBOLI_TOKEN is a token of Kubernetes; on the
machine of a local installation it may be left out.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

URL = os.environ.get("STROMBOLI_URL", "http://127.0.0.1:8080")
TOKEN = os.environ.get("STROMBOLI_TOKEN", "")
TRIES = 10
LATER = (429, 502, 503)  # the prompt was not sent, so the call may be repeated


def events(request: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name and data of each event. A connection that breaks off is made again, and no second run is created."""
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    if TOKEN:
        headers["Authorization"] = f"Bearer {TOKEN}"
    for _ in range(TRIES):
        call = urllib.request.Request(f"{URL}/run/stream", json.dumps(request).encode(), headers)
        try:
            with urllib.request.urlopen(call, timeout=60) as answer:  # a comment comes every 15 seconds
                event: dict[str, str] = {}
                for line in answer:
                    field, _, value = line.decode().rstrip("\n").partition(": ")
                    if field:
                        event[field] = value
                        continue
                    if "data" in event:
                        yield event.get("event", "line"), json.loads(event["data"])
                    if "id" in event:
                        headers["Last-Event-ID"] = event["id"]
                    event = {}
        except urllib.error.HTTPError as refused:
            if refused.code not in LATER:
                sys.exit(f"{refused.code}: {json.load(refused)['error']}")
        except (OSError, http.client.HTTPException) as lost:
            print(f"-- {lost}; trying again", file=sys.stderr)
        time.sleep(1)
    sys.exit(f"there was no end after {TRIES} connections")


def words(line: dict[str, Any]) -> Iterator[str]:
    """What the agent says in a line of the CLI's."""
    if line.get("type") == "assistant":
        yield from (part["text"] for part in line["message"]["content"] if part["type"] == "text")


if __name__ == "__main__":
    prompt = " ".join(sys.argv[1:]) or "Which Python is installed here?"
    for name, data in events({"prompt": prompt, "podman": {"timeout": "5m"}}):
        if name == "error":
            sys.exit(f"{data['reason']}: {data['error']}")
        if name == "done":
            print(f"-- {data['id']}: {data['status']}")
            sys.exit(data["status"] != "completed")
        for text in words(data):
            print(text, flush=True)
