"""HTML pages and their figures: a run's report, and what every page is made of.
May be imported by runs, comparison, exchange, sweeps.
"""
