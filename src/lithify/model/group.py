"""The result of hardening containers that run together: each by itself, and all of them as their file has them then."""

from dataclasses import dataclass, field

from lithify.model.hardening import Hardening
from lithify.model.image import ImageFacts
from lithify.model.mount import MountPlan
from lithify.model.patch import PatchedFile, Refused
from lithify.model.verdict import Verdict

SCHEMA = "lithify.dev/group-hardening/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPlan:
    """The plan of one container of a group, with what is known of its image: a seed depends on that."""

    plan: MountPlan
    image: ImageFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What came of one container of a group."""

    name: str
    """As the file has it; with its object where the file has several: `Deployment/web/app`."""
    hardening: Hardening | None = None
    """None where nothing could be learnt; `trouble` says why."""
    trouble: str = ""
    together: Verdict | None = None
    """How it does beside the others, from the patched file as it stands; None where that was not run."""

    @property
    def planned(self) -> bool:
        """Tell whether its plan held, so that it is in the patch."""
        return self.hardening is not None and self.hardening.verdict.proved

    @property
    def proved(self) -> bool:
        """Tell whether it holds by itself, and beside the others where that was run."""
        return self.planned and (self.together is None or self.together.proved)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFile:
    """A file that the patch of a folder writes."""

    path: str
    text: str
    """As `GroupHardening.text`."""
    before: str | None = None
    """What stands there; None where there is no such file yet."""
    executable: bool = False

    def patched(self) -> PatchedFile:
        """Return the same as the patch has it."""
        before = None if self.before is None else self.before.encode("utf-8", "surrogateescape")
        after = self.text.encode("utf-8", "surrogateescape")
        return PatchedFile(path=self.path, before=before, after=after, executable=self.executable)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupHardening:
    """From a file (or a live workload) whose containers can write anywhere to one in which they can't."""

    target: str
    """What the user pointed at."""
    engine: str
    members: tuple[Member, ...]
    diff: str = ""
    """What changes in the file, as a unified diff; nothing where nothing does."""
    text: str = ""
    """The patched file; bytes that are not UTF-8 are escaped as lone surrogates. Nothing where nothing was patched."""
    files: tuple[GroupFile, ...] = ()
    """What is written instead of `text` where the target is a folder (a chart, a kustomization), or a Compose file of
    which others change: those that it includes."""
    refused: tuple[Refused, ...] = ()
    """What the patch leaves for a person."""
    notes: tuple[str, ...] = ()
    cannot_show: tuple[str, ...] = ()
    """What these runs leave open, in sentences."""
    schema: str = field(default=SCHEMA)

    @property
    def proved(self) -> bool:
        """Tell whether every member holds and all of it is in the patch."""
        return bool(self.members) and all(member.proved for member in self.members) and not self.refused
