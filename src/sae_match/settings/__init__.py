"""The typed settings of the entry points, and the one place where Hydra meets the library."""
