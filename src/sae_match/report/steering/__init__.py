"""Steering and groups as a user asks for them: in one call from Python, and as a run's files."""
