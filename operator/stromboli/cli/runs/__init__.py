"""`stromboli run`, `get`, `wait`, `cancel`, `suspend`, `resume` and `rerun`: runs from the command line."""
