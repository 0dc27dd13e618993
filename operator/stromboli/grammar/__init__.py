"""The little languages that people write: image references, image patterns, quantities, durations.

Each module parses one of them into a value, or raises `errors.InvalidInput` with a sentence that says what
is wrong and what would be right. Each also has an `…_RE2` constant, an anchored regular expression without
lookaround for the CRD's schema, so that most of what is wrong is refused at apply. Pure: no files, no clock.
"""
