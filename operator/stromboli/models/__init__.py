"""The kinds as typed models: the single source of the CRDs and of what the operator reads."""
