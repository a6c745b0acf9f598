"""One spec, many runs: the points of a `sweep:` block, and the engines that run them.
May be imported by cli, api.
"""
