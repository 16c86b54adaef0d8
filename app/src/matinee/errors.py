"""The root of the errors whose message is written for the person using the app."""


class MatineeError(Exception):
    """Something a person can understand and act on; the message says how."""
