"""From YAML to a typed spec: its fields, how files are read and merged, and the checks that need no data.
May be imported by training, metrics, storage, pages, runs, comparison, exchange, claims,
sweeps, cli, api.
"""
