"""The short forms of the Compose Specification, each in its own module: one text → its parts. Pure.

Each `parse` raises InvalidInput with a predicate that continues "KEY: " and has at most a short piece of the text. What
Compose understands otherwise than it looks, or skips in silence, is refused.
"""
