"""A settings file as Stromboli's own server has it, with all that its documentation mentions."""

from __future__ import annotations

CLI_IMAGE = "ghcr.io/tomblancdev/stromboli-agent"
IMAGES = ("python:*", "node:*", "ghcr.io/myorg/*")
PORT = 8080
TEXT = f"""\
server:
  address: ":{PORT}"
agent:
  image: "{CLI_IMAGE}"
  image_tag: "latest"
  mount_claude_cli: true
  cli_image: "{CLI_IMAGE}"
  cli_image_tag: "latest"
  auto_pull_cli: true  # pull on startup if missing
  credentials_file: "~/.claude/.credentials.json"
  sessions_dir: ".stromboli/sessions"
  allowed_image_patterns: ["{'", "'.join(IMAGES)}"]
  allowed_volumes: ["/home/user/projects"]
  token_cache: {{enabled: true, ttl: "5m"}}
resources: {{memory: "512m", cpus: "1", timeout: "30m"}}
auth: {{enabled: true}}
jwt: {{secret: "", access_expiry: "24h", refresh_expiry: "168h"}}
rate_limit: {{enabled: true, rate: 50, burst: 100, trusted_proxies: ["10.0.0.0/8"]}}
tracing: {{enabled: false, service_name: "stromboli", endpoint: "localhost:4317", insecure: false}}
jobs: {{cleanup_ttl: "1h", cleanup_interval: "5m"}}
compose: {{allow_privileged: false, build_timeout: "10m"}}
metrics: {{enabled: true, address: "127.0.0.1:9090"}}
"""
# What neither operator nor gateway uses; and, of the sections that one of them uses, the keys that it does not.
SECTIONS = ("auth", "compose", "jobs", "jwt", "metrics", "resources", "tracing")
OF_THE_OPERATORS = ("agent.image_tag", "agent.sessions_dir", "agent.token_cache")
OF_THE_GATEWAYS = ("rate_limit.trusted_proxies",)
