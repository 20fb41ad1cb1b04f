"""The passes of a validation over its text: what each adds up, what it leaves to the next, what is kept of it."""
