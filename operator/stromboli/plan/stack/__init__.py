"""Decisions about a compose stack: what its parts are called, what is started when, what is ready, what is replaced.

Pure, like all of plan/: states and times are passed in, and what comes out is carried out elsewhere.
"""
