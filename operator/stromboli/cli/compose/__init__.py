"""`stromboli compose`."""
