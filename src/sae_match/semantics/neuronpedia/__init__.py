"""Descriptions from Neuronpedia: its API, its bulk files, and how it is asked."""
