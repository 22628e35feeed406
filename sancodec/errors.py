"""Every error that sancodec raises on purpose; the command line turns each into one line and exit status 1."""


class SancodecError(Exception):
    """Base of all errors that are the input's or the environment's fault, never a bug's."""


class InvalidSignalError(SancodecError):
    """The signal or record to be compressed cannot be read or coded as it is."""


class QualityError(SancodecError):
    """The quality asked for cannot be met; the message says what was reached."""


class FormatError(SancodecError):
    """The bytes are not a valid ``.san`` container."""


class TruncatedError(FormatError):
    """The container ends before its data does."""


class CorruptError(FormatError):
    """A checksum, digest or field contradicts the data."""


class UnsupportedVersionError(FormatError):
    """The container was written by a newer format version or uses an unknown id."""


class LimitExceededError(FormatError):
    """A declared size lies beyond what a reader is willing to allocate."""


class ModelMismatchError(SancodecError):
    """The kernel model that the container names is not at hand."""


class KitError(SancodecError):
    """A deployment kit is incomplete, altered, of another model, or gives other results than it should."""


class DeviceError(SancodecError):
    """What computes failed in the middle: a GPU out of memory, or lost."""


class MissingDependencyError(SancodecError):
    """An optional package is needed; the message names the extra that installs it."""


class OutputExistsError(SancodecError):
    """An output file exists already, and overwriting it was not asked for."""
