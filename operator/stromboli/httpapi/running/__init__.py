"""What the calls that run an agent have in common: the session that is meant, the run's creation, the wait for its end,
its output as it comes.

`sessions` decides which session a run is in, `launch` creates the run and finds the one that a repeated request had
created, `following` waits for what becomes of it, `lines` reads what the CLI prints.
"""
