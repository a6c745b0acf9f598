"""The public functions of Python: what the commands do, as functions that print nothing and return values.
May be imported by no package: they are public names of ddpmx.
"""
