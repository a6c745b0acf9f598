"""The training objective as numbers and as two steps around a network: noise the images, weigh the error.
May be imported by training, metrics, api.
"""
