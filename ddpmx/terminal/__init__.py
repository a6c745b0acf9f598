"""Output to the terminal: safe printing, progress bars, the time left.
May be imported by every package above.
"""
