"""The statuses of runs, sessions and policies in API form: conditions, phase, Kubernetes events. Pure."""
