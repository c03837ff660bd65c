"""The one exception that means "the user can fix this".

Whatever lies in the user's hands (a flag, a config value, a file, a folder) is reported by raising
`UserError` with one line that says what is wrong and what to do. The command line verbs print that line
and exit with code 2, without a traceback; every other exception is a bug of ours and keeps its traceback.
"""


class UserError(Exception):
    """A mistake of the user's; its text is one line: what is wrong, and what to do about it."""
