"""The command line: what it takes and prints. The work is done in `local` and `handlers`."""
