"""Looks things up: policies, references, host paths, sessions, attempts. Changes nothing and decides nothing.

A lookup that fails never counts as "does not exist": it raises, and the run waits with a reason.
"""
