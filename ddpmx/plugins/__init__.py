"""Code that is not ours: loading it, trusting it, and saying whose fault an error is.
May be imported by every package above.
"""
