"""The error that a user can mend."""


class UserError(ValueError):
    """Bad input, in one line: what was found, where, and what would be right.

    The entry points print it without a traceback; library callers may catch it as a `ValueError`.
    """
