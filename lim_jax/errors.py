"""The one exception that means "the user can fix this".

Whatever lies in the user's hands (a flag, a config value, a file, a folder) is reported by raising
`UserError` with one line that says what is wrong and what to do. The command line verbs print that line
and exit with code 2, without a traceback; every other exception is a bug of ours and keeps its traceback.
"""

_LONGEST = 300  # letters of another library's error


class UserError(Exception):
    """A mistake of the user's; its text is one line: what is wrong, and what to do about it."""


def one_line(error: object) -> str:
    """Returns what another library's error says as a part of such a line, cut where it is long.

    The error's name if it says nothing.
    """
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
