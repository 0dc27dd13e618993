"""The kinds as typed models: the one source of the CRDs and of what the operator reads."""
