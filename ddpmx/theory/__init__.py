"""Formulas behind design choices: the variational bound, effective weights, and differences with intervals.
May be imported by objective, spec, training, metrics, pages, runs, comparison, claims,
sweeps.
"""
