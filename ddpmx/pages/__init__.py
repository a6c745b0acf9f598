"""HTML pages and their figures: a run's report, and the parts that all pages share.
May be imported by runs, comparison, claims, exchange, sweeps, api.
"""
