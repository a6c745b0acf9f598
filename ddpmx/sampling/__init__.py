"""The sampling loop, classifier-free guidance, editing of images, and the density of the probability flow.
May be imported by training, metrics, testing, runs, api.
"""
