"""Judges the claims of a sweep by its runs: each holds, fails, or is undecided, with what would settle it.
May be imported by sweeps, cli.
"""
