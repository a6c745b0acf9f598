"""The sampling loop, classifier-free guidance, and editing of images.
May be imported by training, testing, runs.
"""
