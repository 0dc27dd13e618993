"""The small languages that users write: image references, image patterns, quantities, durations, regular expressions.

Each parser returns a value, or raises `errors.InvalidInput` with a sentence that says what is wrong and what to write
instead. Each also has an `…_RE2` constant, an anchored regular expression without lookaround for the CRD's schema, so
that most errors are already rejected at apply. `regex` only checks. Pure: no files, no clock.
"""
