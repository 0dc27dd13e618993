"""Compose files → a typed stack: what the Compose Specification (commit 170098b) says a file means.

Pure: files are read through the protocol in `files.py`. In the order of the flow: `document/` (bytes → YAML values with
their places, interpolation, short forms, extends, merge), `typed/` (values → `stack.Stack`, every key checked). What a
short form means is in `forms/`, what policies say of a stack in plan/stack/.
"""
