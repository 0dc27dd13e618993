"""All decisions, as pure functions: no await, no clock, no environment, no files.

What was observed goes in, what to do comes out.
"""
