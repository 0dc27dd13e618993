"""An offline stand-in of the Messages API: just enough of it for the real Claude Code CLI, and honest about it.

It is what answers where there is no API key (the demo) and where every word has to be known (the tests).
Reading order: `request` (what the CLI asked) → `directives` (what the prompt wants tried) → `answer`
(the decision, pure) → `wire` (JSON and server-sent events) → `server` (HTTP and the log).
No model, no network and nothing of Kubernetes or Podman in here.
"""
