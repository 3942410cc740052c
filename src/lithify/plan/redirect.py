"""Finds the variable or option that moves a write somewhere else.

A redirect changes how the program is started, and nothing but a run shows that it listens; a narrow mount where the
program writes anyway changes nothing it can notice. So a redirect comes first only where the mount would be the worse
thing: where its directory is forbidden, hides much of what the image has there, or exposes executables. `cover` holds
the two against each other by weight.

The general mechanism needs no knowledge of programs: the value of a variable, or an argument of the command line, that
names the written path or a parent of it. The tables of well-known variables and options are only for paths that nobody
named.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from pathlib import PurePosixPath

from lithify.model.mount import Redirect
from lithify.model.path import ROOT, is_pseudo, is_system, printable
from lithify.model.writes import Process, WriteSet
from lithify.plan.ground import Ground

_INTERPRETED = 4
"""Among so many first words of a process is the name of its program: `python3 -m celery`, `env python3 celery`."""
TARGETS = PurePosixPath("/mnt")
"""Where redirected writes go: a directory that the hierarchy standard leaves to whoever runs the system."""

_NO_DESTINATION = frozenset({
    "PWD", "OLDPWD", "PATH", "SHELL", "_", "MANPATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "NODE_PATH",
    "GOPATH", "GOROOT", "JAVA_HOME", "JRE_HOME", "CATALINA_HOME", "RUBYLIB", "GEM_HOME", "GEM_PATH", "PERL5LIB",
    "CLASSPATH", "VIRTUAL_ENV", "PYTHONHOME", "BASH_ENV", "ENV", "SSL_CERT_FILE", "SSL_CERT_DIR",
})  # fmt: skip
"""Variables that say where things are found, not where they are put."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to move what is written at or below `path`."""

    path: PurePosixPath
    variable: str | None = None
    argument: tuple[int, str, str] | None = None
    """Index in the container's command, with what stands in that argument before and after the path."""
    appended: str = ""
    """What stands before the path in an argument that is added at the end of the command: `--pidfile=`."""
    reason: str
    certain: bool
    """False where a table says so, and not the process itself."""
    suffix: str = ""
    """What the program adds to the name it is given: `.db` where it is told `schedule` and makes `schedule.db`."""

    @property
    def label(self) -> str:
        """Name it as `PlanSettings.rejected` takes it."""
        return self.redirect(self.path).label

    def redirect(self, new: PurePosixPath) -> Redirect:
        """Return the redirect that sends the writes to `new`."""
        name = str(new).removesuffix(self.suffix)
        argument = None
        if self.argument is not None:
            index, before, after = self.argument
            argument = (index, f"{before}{name}{after}")
        return Redirect(
            old=self.path,
            new=new,
            variable=self.variable,
            value=name if self.variable else "",
            argument=argument,
            appended=(f"{self.appended}{name}",) if self.appended else (),
            reason=self.reason,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    variable: str
    tail: str
    """The end of the directory that the variable names, where it is not set."""
    programs: str
    """Pattern of the names of programs that honour it."""


_PYTHON = r"python[\d.]*|gunicorn|celery|uwsgi|uvicorn|flask|django-admin|jupyter.*"
_NODE = r"node|nodejs|npm|npx|yarn|pnpm|corepack"
KNOWN = (
    _Known(variable="npm_config_cache", tail=".npm", programs=_NODE),
    _Known(variable="COREPACK_HOME", tail=".cache/node/corepack", programs=_NODE),
    _Known(variable="YARN_CACHE_FOLDER", tail=".cache/yarn", programs=_NODE),
    _Known(variable="PIP_CACHE_DIR", tail=".cache/pip", programs=rf"pip[\d.]*|{_PYTHON}"),
    _Known(variable="MPLCONFIGDIR", tail=".config/matplotlib", programs=_PYTHON),
    _Known(variable="MPLCONFIGDIR", tail=".cache/matplotlib", programs=_PYTHON),
    _Known(variable="HF_HOME", tail=".cache/huggingface", programs=_PYTHON),
    _Known(variable="TORCH_HOME", tail=".cache/torch", programs=_PYTHON),
    _Known(variable="TRITON_CACHE_DIR", tail=".triton/cache", programs=_PYTHON),
    _Known(variable="IPYTHONDIR", tail=".ipython", programs=_PYTHON),
    _Known(variable="JUPYTER_CONFIG_DIR", tail=".jupyter", programs=_PYTHON),
    _Known(variable="ANSIBLE_LOCAL_TEMP", tail=".ansible/tmp", programs=rf"ansible.*|{_PYTHON}"),
    _Known(variable="BUNDLE_USER_HOME", tail=".bundle", programs=r"ruby[\d.]*|bundle|puma|rails"),
    _Known(variable="DOTNET_CLI_HOME", tail=".dotnet", programs=r"dotnet"),
    _Known(variable="GOCACHE", tail=".cache/go-build", programs=r"go"),
    _Known(variable="HELM_CACHE_HOME", tail=".cache/helm", programs=r"helm|argocd.*"),
    _Known(variable="KUBECACHEDIR", tail=".kube/cache", programs=r"kubectl|helm"),
    _Known(variable="GNUPGHOME", tail=".gnupg", programs=r"gpg.*"),
    _Known(variable="TF_DATA_DIR", tail=".terraform", programs=r"terraform|tofu|atlantis"),
    _Known(variable="XDG_CACHE_HOME", tail=".cache", programs=r".*"),
    _Known(variable="XDG_CONFIG_HOME", tail=".config", programs=r".*"),
    _Known(variable="XDG_DATA_HOME", tail=".local/share", programs=r".*"),
    _Known(variable="XDG_STATE_HOME", tail=".local/state", programs=r".*"),
)
"""Variables that move what their tools write below the home, by the tools' own documentation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Argument:
    option: str
    """As it is written before its value."""
    default: str
    """The name that is written without it, in the working directory."""
    programs: str
    """Pattern of the names of programs that take it, after all other arguments."""
    command: str = ""
    """The program's own command to which it belongs."""


ARGUMENTS = (
    # docs.celeryq.dev, "celery beat": "Path to the schedule database. Defaults to celerybeat-schedule. The extension
    # '.db' may be appended to the filename."
    _Argument(option="--schedule=", default="celerybeat-schedule", programs=r"celery", command="beat"),
    # supervisord.org/configuration.html: "Default: $CWD/supervisord.log", "$CWD/supervisord.pid"; running.html: both
    # options, which win over the file.
    _Argument(option="--logfile=", default="supervisord.log", programs=r"supervisord"),
    _Argument(option="--pidfile=", default="supervisord.pid", programs=r"supervisord"),
    # flower.readthedocs.io/en/latest/config.html: "db: a database file to use if persistent mode is enabled (by
    # default, db=flower)"
    _Argument(option="--db=", default="flower", programs=r"celery", command="flower"),
    # k8s.io/apiserver, pkg/server/options/serving.go: CertDirectory "apiserver.local.config/certificates", --cert-dir
    _Argument(option="--cert-dir=", default="apiserver.local.config/certificates", programs=r"[a-z-]*(adapter|server)"),
)
"""Options that move what programs write in the working directory by a name of their own."""


def find_options(write_set: WriteSet, ground: Ground, paths: Sequence[PurePosixPath]) -> dict[PurePosixPath, Option]:
    """Return the best way to move each directory or file that `paths`, sorted by parts, lie at or below.

    Left out are ways that would take the program itself, or a directory of the system, along.
    """
    found: dict[PurePosixPath, Option] = {}
    keys = [path.parts for path in paths]
    known = (*_by_known_argument(write_set), *_by_table(write_set, paths))
    for option in (*_by_argument(write_set), *_by_variable(write_set, ground), *known):
        resolved = _with_suffix(replace(option, path=ground.resolve(option.path, follow=True)), keys)
        if resolved.path not in found and _is_written(resolved.path, keys) and not _takes_program(resolved, ground):
            found[resolved.path] = resolved
    return found


def _is_written(path: PurePosixPath, keys: Sequence[tuple[str, ...]]) -> bool:
    at = bisect_left(keys, path.parts)
    return at < len(keys) and keys[at][: len(path.parts)] == path.parts


def _with_suffix(option: Option, keys: Sequence[tuple[str, ...]]) -> Option:
    """Return the option for the one written file whose name is the option's with an ending, where there is just one."""
    path = option.path
    if _is_written(path, keys) or path == ROOT:
        return option
    start = bisect_left(keys, (*path.parts[:-1], path.name + "."))
    endings = {
        key[len(path.parts) - 1][len(path.name) :]
        for key in takewhile(lambda key: key[: len(path.parts) - 1] == path.parts[:-1], islice(keys, start, start + 8))
        if len(key) == len(path.parts) and key[-1].startswith(path.name + ".")
    }
    if len(endings) != 1:
        return option
    suffix = endings.pop()
    return replace(option, path=path.with_name(path.name + suffix), suffix=suffix)


def _takes_program(option: Option, ground: Ground) -> bool:
    if is_pseudo(option.path) or is_system(option.path):
        return True
    if option.variable == "HOME":  # programs find themselves by their own path, not by the home
        return False
    objection = ground.objection(option.path, written=True)
    return objection is not None and "program" in objection


def _by_argument(write_set: WriteSet) -> Iterator[Option]:
    command = write_set.key.command or write_set.image.command
    working = {process.working_directory for process in write_set.processes}
    # a word that PATH made a path of is a program's name, also where an entrypoint stands before it
    found = {word.rpartition("/")[2] for process in write_set.processes for word in process.arguments if "/" in word}
    for index, text in enumerate(command):
        if index == 0 or text in found:
            continue
        for before, value in _values(text):
            for path in _as_paths(value, working):
                yield Option(
                    path=path,
                    argument=(index, before, ""),
                    reason=f"the argument {printable(text)!r} of its command names it",
                    certain=True,
                )


def _values(text: str) -> Iterator[tuple[str, str]]:
    """Yield what may be a path in an argument, with what stands before it: `--dir=/x`, `-Dtmp=/x`, `/x`."""
    yield "", text
    before, equals, value = text.partition("=")
    if equals and value:
        yield before + equals, value
    if match := re.fullmatch(r"(-[A-Za-z])(/.+)", text):
        yield match[1], match[2]


def _as_paths(value: str, working: set[PurePosixPath]) -> Iterator[PurePosixPath]:
    if "\0" in value or not value or value.startswith("-"):
        return
    path = PurePosixPath(value)
    if path.is_absolute():
        if ".." not in path.parts and "//" not in value[:2]:
            yield path
    elif ".." not in path.parts and path.parts:
        # A relative name is made in the working directory; it counts only where just that name was written.
        yield from (directory / path for directory in sorted(working))


def _by_variable(write_set: WriteSet, ground: Ground) -> Iterator[Option]:
    seen: set[tuple[str, str]] = set()
    declared = write_set.image.environment
    known = [(printable(_name(process)), process.path_variables) for process in write_set.processes]
    for program, variables in known or [("the container", tuple(declared.items()))]:
        for name, value in variables:
            path = PurePosixPath(value)
            if (name, value) in seen or name in _NO_DESTINATION or ":" in value or ".." in path.parts:
                continue
            seen.add((name, value))
            if path.is_absolute() and not value.startswith("//"):
                where = "the image sets it" if declared.get(name) == value else "its environment has it"
                yield Option(
                    path=ground.resolve(path, follow=True),
                    variable=name,
                    reason=f"the variable {printable(name)} of {program} names it, and {where}",
                    certain=declared.get(name) == value,
                )


def _by_table(write_set: WriteSet, paths: Sequence[PurePosixPath]) -> Iterator[Option]:
    programs = {_name(process) for process in write_set.processes}
    tails = [(tuple(known.tail.split("/")), known) for known in KNOWN]
    firsts = {tail[0] for tail, _ in tails}
    for path in paths:
        parts = path.parts
        if firsts.isdisjoint(parts):
            continue
        for tail, known in tails:
            for at in range(1, len(parts) - len(tail) + 1):
                if parts[at : at + len(tail)] == tail and any(re.fullmatch(known.programs, p) for p in programs):
                    yield Option(
                        path=PurePosixPath(*parts[: at + len(tail)]),
                        variable=known.variable,
                        reason=f"{known.variable} moves what such programs keep in {known.tail}",
                        certain=False,
                    )


def _by_known_argument(write_set: WriteSet) -> Iterator[Option]:
    command = write_set.key.command or write_set.image.command
    for process in write_set.processes:
        if not _is_reached(process, command):
            continue
        names = [word.rpartition("/")[2] for word in process.arguments[:_INTERPRETED]]
        for known in ARGUMENTS:
            ours = any(re.fullmatch(known.programs, name) for name in names)
            said = any(word.startswith(known.option.rstrip("=")) for word in process.arguments)
            if ours and not said and (not known.command or known.command in process.arguments):
                yield Option(
                    path=process.working_directory / known.default,
                    appended=known.option,
                    reason=f"{known.option.rstrip('=')} moves what such programs write as {known.default}",
                    certain=False,
                )


def _is_reached(process: Process, command: Sequence[str]) -> bool:
    """Tell whether what is added at the end of the container's command comes to be the process's last argument.

    So it is where they end alike: the process is what the command names, its interpreter put before it, or what an
    entrypoint hands its arguments over to.
    """
    last = process.arguments[-1:]
    return bool(last) and tuple(command[-1:]) in (last, (last[0].rpartition("/")[2],))


def _name(process: Process) -> str:
    return process.program.rpartition("/")[2]


def target(option: Option, taken: set[PurePosixPath]) -> PurePosixPath:
    """Return a directory of its own for what `option` moves, none of `taken`."""
    words = option.variable or option.path.name or "redirected"
    slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "redirected"
    path, number = TARGETS / slug, 2
    while path in taken:
        path, number = TARGETS / f"{slug}-{number}", number + 1
    return path
