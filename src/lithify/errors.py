"""Every exception lithify raises on purpose.

Each class is one kind of trouble: its exit code, and the page in `pages` that bears its name. Findings,
skipped inputs and failed proofs are values in a report, not exceptions.
"""


class LithifyError(Exception):
    """Something stands in the way: the message says what and where, the hint what to do."""

    exit_code = 70
    page = "internal-error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LithifyError):
    """The command line, a variable or the configuration file asks for something that can't be."""

    exit_code = 2
    page = "usage"


class InvalidInput(LithifyError):
    """A file that lithify was given can't be read as what it should be."""

    exit_code = 2
    page = "invalid-input"


class OutputFailed(LithifyError):
    """A result could not be written where it was asked for."""

    exit_code = 2
    page = "output-failed"


class FileChanged(LithifyError):
    """A file is no longer what was read of it, so what was made of it is not written over it."""

    exit_code = 2
    page = "file-changed"


class NothingToExamine(LithifyError):
    """There is no container, image, file or object by that name."""

    exit_code = 3
    page = "nothing-to-examine"


class NothingToRevert(NothingToExamine):
    """No patch is known that led to what stands in a file now."""

    page = "nothing-to-revert"


class TargetBroken(NothingToExamine):
    """The program does not work even with a writable root filesystem, so nothing can be learnt or proved."""

    page = "target-broken"


class EngineUnreachable(LithifyError):
    """An engine, cluster or runtime gave no answer, refused us, or is not installed."""

    exit_code = 4
    page = "engine-unreachable"


class EngineRefused(EngineUnreachable):
    """An engine answered, and would not do what was asked of it."""

    page = "engine-refused"


class Conflict(EngineRefused):
    """What should be made is there already, or was changed by somebody else meanwhile."""

    page = "conflict"


class NotPermitted(EngineUnreachable):
    """The kernel or the engine does not let us: a right is missing."""

    page = "not-permitted"


def was_interrupted(error: BaseException | None) -> bool:
    """Tell whether an error came up while an interrupt was on its way out: of what was to be removed then."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
