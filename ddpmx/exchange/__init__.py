"""Runs to and from the folders of other libraries.
May be imported by cli.
"""
