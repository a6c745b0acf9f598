"""What one run is and does: train, sample, evaluate, resume, show, and what is checked before.
May be imported by exchange, sweeps, cli.
"""
