"""A CLI that takes a tenth of the real one's CPU time and still sends its prompt: for load tests and many kills.

It posts its standard input to the stand-in, whose directives work as usual, and prints the answer in the real CLI's
format. If the answer begins with `sh:`, it executes the rest as a shell script instead. It is written for the Python of
the image that it runs in.
"""

from __future__ import annotations

from collections.abc import Mapping

from stromboli.local.images import PodmanCommand
from stromboli.local.npm import CLI

REFERENCE = "localhost/stromboli/agent:light"

_PROGRAM = b"""\
#!/usr/bin/python3 -IS
import json, os, socket, sys
prompt = sys.stdin.read()
message = {"role": "user", "content": prompt}
body = json.dumps({"model": "claude-sonnet-4-5", "max_tokens": 1, "messages": [message]}).encode()
with socket.socket(socket.AF_UNIX) as gateway:
    gateway.connect(os.environ["ANTHROPIC_UNIX_SOCKET"])
    head = "POST /v1/messages HTTP/1.0\\r\\nHost: gateway\\r\\nContent-Type: application/json\\r\\n"
    head += "X-Api-Key: %s\\r\\nContent-Length: %d\\r\\n\\r\\n" % (os.environ["ANTHROPIC_API_KEY"], len(body))
    gateway.sendall(head.encode() + body)
    answer = b"".join(iter(lambda: gateway.recv(65536), b""))
said = json.loads(answer.partition(b"\\r\\n\\r\\n")[2])["content"][0]["text"]
if said.startswith("sh:"):
    os.execv("/bin/sh", ["sh", "-c", said[3:]])
print(json.dumps({"type": "system", "subtype": "init"}))
print(json.dumps({"type": "result", "subtype": "success", "is_error": False, "result": said, "num_turns": 1,
                  "usage": {"input_tokens": 1, "output_tokens": 1}, "total_cost_usd": 0}))
"""


def build(environ: Mapping[str, str]) -> str:
    """Ensure that its image is in the Podman of `environ`. Returns the reference."""
    podman = PodmanCommand(environ)
    if not podman.exists(REFERENCE):
        podman.build(REFERENCE, lambda root: root.file(CLI, _PROGRAM, mode=0o755))
    return REFERENCE
