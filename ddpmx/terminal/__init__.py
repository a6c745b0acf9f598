"""What the user sees while ddpmx works: safe output, progress, time left.
May be imported by every package above.
"""
