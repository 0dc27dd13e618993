"""Stromboli: Claude Code inside any glibc container image, as a Kubernetes operator on Podman.

Read in this order: handlers (watch events) → models (typed specs) → podman, inspection, attempt
(observations) → plan (the decision) → podman, attempt (effects) → status (the patch).
`reconcile.py` joins them.
"""
