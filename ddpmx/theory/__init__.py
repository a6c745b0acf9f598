"""What a design choice means, as formulas: the variational bound, effective weights, and estimates with intervals.
May be imported by spec, training, metrics, pages, runs, comparison.
"""
