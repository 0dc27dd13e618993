"""A relay for agents without a network: forwards from a local Unix socket to the Messages API, and nowhere else."""
