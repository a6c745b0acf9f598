"""What a spec can name: the base class of all components, a registry for each kind, and their listing.
May be imported by every package above.
"""
