"""`stromboli images`: commands, their output, and how a pull is followed."""
