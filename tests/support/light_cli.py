"""A CLI that takes a tenth of the real one's CPU time and still sends its prompt: for load tests and many kills.

It posts its standard input to the stand-in, whose directives work as usual, and prints the answer in the real CLI's
format. If it is told to use the Bash tool, it does, and its answer is the one that the stand-in would give next. If the
answer begins with `sh:`, it executes the rest as a shell script instead. It is written for the Python of the image that
it runs in, and knows neither conversations nor permissions.
"""

from __future__ import annotations

from collections.abc import Mapping

from stromboli.local.images import PodmanCommand
from stromboli.local.npm import CLI

REFERENCE = "localhost/stromboli/agent:light"

# Only modules that are part of the interpreter: the image has no compiled ones, and those that are not compiled take
# longer than all the rest.
_PROGRAM = b"""\
#!/usr/bin/python3 -IS
import _socket, os, sys
from _json import encode_basestring_ascii as quoted, scanstring
TEXT = '"content": [{"type": "text", "text": "'
TOOL = '"name": "Bash", "input": {"command": "'
message = '{"role": "user", "content": %s}' % quoted(sys.stdin.read())
body = ('{"model": "claude-sonnet-4-5", "max_tokens": 1, "messages": [%s]}' % message).encode()
gateway = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
gateway.connect(os.environ["ANTHROPIC_UNIX_SOCKET"])
head = "POST /v1/messages HTTP/1.0\\r\\nHost: gateway\\r\\nContent-Type: application/json\\r\\n"
head += "X-Api-Key: %s\\r\\nContent-Length: %d\\r\\n\\r\\n" % (os.environ["ANTHROPIC_API_KEY"], len(body))
gateway.sendall(head.encode() + body)
answer = b"".join(iter(lambda: gateway.recv(65536), b"")).decode()
if TEXT in answer:
    said, _ = scanstring(answer, answer.index(TEXT) + len(TEXT), True)
elif TOOL in answer:
    command, _ = scanstring(answer, answer.index(TOOL) + len(TOOL), True)
    output = os.popen("exec 2>&1\\n" + command).read().rstrip("\\n")
    said = "The offline stand-in passes on what the tool said: " + output
else:
    sys.exit(answer)
if said.startswith("sh:"):
    os.execv("/bin/sh", ["sh", "-c", said[3:]])
print('{"type": "system", "subtype": "init"}')
print('{"type": "result", "subtype": "success", "is_error": false, "result": %s, "num_turns": 1, '
      '"usage": {"input_tokens": 1, "output_tokens": 1}, "total_cost_usd": 0}' % quoted(said))
"""


def build(environ: Mapping[str, str]) -> str:
    """Ensure that its image is in the Podman of `environ`. Returns the reference."""
    podman = PodmanCommand(environ)
    if not podman.exists(REFERENCE):
        podman.build(REFERENCE, lambda root: root.file(CLI, _PROGRAM, mode=0o755))
    return REFERENCE
