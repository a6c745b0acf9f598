"""Export of runs to the folders of other libraries, and import from them.
May be imported by cli.
"""
