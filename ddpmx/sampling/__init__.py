"""The sampling loop, classifier-free guidance, and editing of given images.
May be imported by training, testing, runs.
"""
