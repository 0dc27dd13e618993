"""The command line: its arguments and output. The work is done in `local` and `handlers`."""
