"""Validations of random language models of any size, with SAEs that are made for them."""
