"""This process and the machine that it runs on: signals, requests to stop, memory.
May be imported by every package above.
"""
