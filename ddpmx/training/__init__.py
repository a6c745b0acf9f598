"""From a spec to a trained network: the experiment, the objective, the loop, validation and averages.
May be imported by metrics, storage, pages, runs, comparison, exchange, sweeps, cli, api.
"""
