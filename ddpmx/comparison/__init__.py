"""Runs side by side: what differs, which is better, and whether that is more than noise.
May be imported by sweeps, cli.
"""
