"""What went wrong and what the user can do about it, in one line each.

A `MienError` is something the person at the keyboard can mend; its text is one line and names the mend.
What only we can break is an `assert`.
"""


class MienError(Exception):
    """Base of everything a user can mend. The command line prints its text and exits with status 2."""


class InputError(MienError):
    """An input file, folder or argument cannot be used: missing, unreadable, truncated, empty, too large."""


class OutputError(MienError):
    """The output cannot be written: unknown container, no room on the disk, no permission."""


class NoFaceError(MienError):
    """A face is needed where none was found."""


class WeightsError(MienError):
    """A weight file is missing, damaged, or not what its card says."""


class SettingsError(MienError):
    """An option has a value that the program cannot work with."""


class TrainingError(MienError):
    """A training run cannot go on: its loss is no number any more, or its folder holds something else."""
