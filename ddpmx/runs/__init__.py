"""A single run: preflight, training, sampling, evaluation, resuming, and the commands that inspect it.
May be imported by comparison, claims, exchange, sweeps, cli, api.
"""
