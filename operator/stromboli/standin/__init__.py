"""An offline stand-in for the Messages API: just enough of it for the real Claude Code CLI; its answers say what it is.

It answers where there is no API key (the demo) and where answers must be deterministic (the tests).
Reading order: `request` (parsing the CLI's request) → `directives` (behaviour requested in the prompt) → `answer`
(the decision, pure) → `wire` (JSON and server-sent events) → `server` (HTTP and the log).
There is no model here, no outgoing connection, and nothing about Kubernetes or Podman.
"""
