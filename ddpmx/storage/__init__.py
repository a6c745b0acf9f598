"""A run on disk: its folder, its event log, its checkpoints, and a record of the data it was trained on.
May be imported by pages, runs, comparison, claims, exchange, sweeps, cli, api.
"""
