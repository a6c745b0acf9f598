"""A single run: preflight, training, sampling, evaluation, resuming, and the commands that inspect it.
May be imported by comparison, exchange, sweeps, cli.
"""
