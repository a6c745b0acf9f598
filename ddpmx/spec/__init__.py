"""From YAML to a typed spec: its fields, how files are read and merged, and what is checked before data are.
May be imported by training, storage, pages, runs, comparison, exchange, sweeps, cli.
"""
