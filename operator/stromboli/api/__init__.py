"""The operator's read API: what a node has and the API server has not, over TLS, for whom RBAC allows it.

`serving` in `server` is what the operator calls; `client` is what the command line calls. Nothing can be changed
through it.
"""
