"""Decisions, all of them pure: no await, no clock, no environment, no file.

What is there goes in, what to do comes out.
"""
