"""A run on disk: its folder, its log of events, its checkpoints, and the data that it was made from.
May be imported by pages, runs, comparison, exchange, sweeps, cli.
"""
