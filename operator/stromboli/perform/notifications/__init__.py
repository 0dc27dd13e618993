"""The notifications of runs' ends: which are due, their turns, and how one is sent. The decisions: plan/notify.py."""
