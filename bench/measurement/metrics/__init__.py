"""Metrics: from images and features to a number with the influence of each image."""
