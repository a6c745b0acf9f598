"""One spec, many runs: the points of a `sweep:` block and what runs them.
May be imported by cli.
"""
