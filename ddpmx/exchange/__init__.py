"""Runs to and from the folders of other libraries."""
