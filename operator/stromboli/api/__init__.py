"""The operator's read-only HTTPS API: data that is on the node but not in the API server, for the gateway alone.

The operator calls `serving` in `server`; the command line calls `client`, which asks the API server.
"""
