"""The components that a spec can name: their base class, a registry for each kind, and listings of them.
May be imported by every package above.
"""
