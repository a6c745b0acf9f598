"""The running process and its machine: signals, requests to stop, memory.
May be imported by every package above.
"""
