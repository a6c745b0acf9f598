"""Compares runs: how their specs differ, which is better, and whether the difference exceeds the noise.
May be imported by claims, sweeps, cli, api.
"""
