"""Runs that are finished, opened as data."""
