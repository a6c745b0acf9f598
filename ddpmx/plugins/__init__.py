"""Plugins: loading their code, deciding whether it may run, and attributing errors to it.
May be imported by every package above.
"""
