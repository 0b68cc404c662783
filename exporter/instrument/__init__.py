"""Histograms, metric families and the text formats. Pure."""
