"""The bytes of a project's files → one tree of values with their places: parsed, interpolated, extended, merged."""
