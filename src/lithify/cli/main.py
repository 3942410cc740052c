"""The entry point: knows exit codes, and alone shows errors.

`--version` and `--help` are answered before anything heavy is imported; each command's module is imported when it is
the one that was asked for.
"""

import os
import sys

from lithify import __version__

COMMANDS = {
    "harden": "make a container's root read-only and keep its program working, proved",
    "learn": "tell what a container writes, and how that is known",
    "plan": "tell where a container must be allowed to write, and why",
    "patch": "write a plan into the file that describes the container",
    "prove": "judge a plan: does it work, is the rest refused, is no place too much",
    "audit": "tell what can still be written, by files or by what an engine, cluster or node runs",
    "report": "join audit reports of shards and hosts, and write them in any format",
    "explain": "tell what read-only errors in a log mean and what to do",
}
"""Each command with the line that help shows for it; its module in this package has the same name."""
_HIDDEN = {"answer": "answer what lithify elsewhere asks of this host", "help": "print what to know of an error"}
"""Commands that lithify gives to itself, and what errors name."""

_ONCE_MORE = 0.02
"""Seconds after which an interrupt that was dropped comes again."""

_OPTIONS = """\
options:
  --config FILE     read settings from FILE instead of lithify.toml
  --color WHEN      auto, always or never
  --debug           show a traceback with an error
  --version         print the version
  -h, --help        print this, or the help of a command

lithify help NAME prints the help of a command, or the page that an error names.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command that `argv` names and return its exit code; errors are shown on stderr, once."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"] and words[1:2] and words[1] in {**COMMANDS, **_HIDDEN}:
        words = [words[1], "--help"]
    if (about := _about(words)) and _is_said(about):
        return 0 if words else 2
    return _run(words)


def _is_said(text: str) -> bool:
    """Print a text with nothing imported, and tell whether that went."""
    try:
        print(text, end="", flush=True)
    except OSError:
        return False
    return sys.stdout is not None


def _about(words: list[str]) -> str:
    """Return what lithify says of itself; nothing where a command is named."""
    if words[:1] in (["--version"], ["-V"]):
        return f"lithify {__version__}\n"
    return _help() if not words or words[0] in ("-h", "--help") or words == ["help"] else ""


def _help() -> str:
    width = max(map(len, COMMANDS))
    listed = "".join(f"  {name:{width}}  {text}\n" for name, text in COMMANDS.items())
    return (
        "usage: lithify COMMAND [OPTION...] [ARGUMENT...]\n\n"
        "Turns a container's root filesystem read-only and keeps the program in it working.\n\n"
        f"commands:\n{listed}\n{_OPTIONS}\n"
        "Exit: 0 done, 1 findings or a failed proof, 2 wrong usage, 3 nothing to examine,\n"
        "4 engine unreachable, 70 a bug of ours, 130 interrupted.\n"
    )


def _run(words: list[str]) -> int:
    from lithify.errors import LithifyError, was_interrupted

    debug, color = "--debug" in words, "auto"
    if sys.stderr is None:  # closed: `print` would take standard output, which holds the result
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as we run
    try:
        if about := _about(words):
            from lithify.cli.stdout import write_text

            write_text(about)
            return 0 if words else 2
        from lithify.cli.arguments import parse

        _treat_as_interrupts()
        arguments = parse(words, {**COMMANDS, **_HIDDEN})
        debug, color = bool(arguments.debug), arguments.color or "auto"
        return int(arguments.run(arguments))
    except LithifyError as error:
        _show_error(error, debug=debug, color=color)
        return 130 if was_interrupted(error) else error.exit_code
    except KeyboardInterrupt:
        _show_error(None, debug=debug, color=color)
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; what is left unsaid is theirs.
        sys.stderr.close()
        return 0
    except SystemExit as stop:  # argparse, after its own message
        return stop.code if isinstance(stop.code, int) else 2
    except Exception as error:  # a bug of ours, but for a path that we may not use: said so, with its own exit code
        told = _not_permitted(error)
        _show_error(told, debug=debug, color=color)
        return 130 if was_interrupted(error) else getattr(told, "exit_code", 70)


def _not_permitted(error: Exception) -> Exception:
    """Return what to say of a path that the kernel keeps from this user; `error` itself where it is nothing such."""
    if not isinstance(error, PermissionError) or not isinstance(error.filename, str | bytes | os.PathLike):
        return error
    from lithify.errors import NotPermitted

    told = NotPermitted(
        f"{os.fsdecode(error.filename)}: {error.strerror}",
        hint="name what you may read, or run lithify as a user who may",
    )
    told.__cause__ = error
    return told


def _show_error(error: BaseException | None, *, debug: bool, color: str) -> None:
    from lithify.cli.console import show_error  # what it takes to show an error is imported when there is one

    try:
        show_error(error, debug=debug, color=color)
    except OSError:  # the exit code says it by itself
        sys.stderr = None  # or the interpreter would try again when it ends, and exit with 120


def _treat_as_interrupts() -> None:
    """Clean up as after Ctrl-C where somebody asks us to end or closes the terminal, but for nohup.

    Python drops what is raised in a finalizer, an interrupt as well: that comes once more, after it.
    """
    import signal

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupt)
    if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        return  # the alarm is somebody else's, or this was done before
    signal.signal(signal.SIGALRM, interrupt)
    tell = sys.unraisablehook

    def dropped(unraisable: "sys.UnraisableHookArgs") -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, _ONCE_MORE)
        else:
            tell(unraisable)

    sys.unraisablehook = dropped


if __name__ == "__main__":
    sys.exit(main())
