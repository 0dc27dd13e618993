"""Logs of runs, for the read API (api/logs.py): what `steps` have written, and `services` of their stacks.

What is asked for and answered is in `asked`; `times` notes how far running attempts have come. The command line's side
is in cli/logs/.
"""
