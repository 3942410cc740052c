"""A Compose project as a group: its services are hardened one beside the other, and its file is patched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from lithify.documents.splice import Uneditable
from lithify.documents.yaml import Document, read_documents
from lithify.engines.command_line.engine import CliEngine
from lithify.engines.compose.engine import ComposeEngine, ComposeFile, ComposeProgram, default_overrides, find_compose
from lithify.engines.compose.flags import plan_service
from lithify.engines.compose.project import Project
from lithify.errors import NothingToExamine, TargetBroken, UsageError
from lithify.model.group import MemberPlan
from lithify.model.location import Route
from lithify.model.patch import Patched, Planned, Refused
from lithify.model.path import printable
from lithify.model.run import Exercise, Probe, Target, TargetKind
from lithify.patch import compose, stack
from lithify.pipeline.groups.compose_files import laid_out, patch_project
from lithify.pipeline.groups.group import Case, Group
from lithify.pipeline.groups.options import GroupOptions
from lithify.pipeline.target import make_cli_engine
from lithify.sources.compose import read_compose


def open_compose(text: str, data: bytes, options: GroupOptions) -> Group:
    """Return the project that the Compose file at `text` describes; UsageError, InvalidInput where it can't be."""
    if options.settings.engine == "bundle":
        raise UsageError("the bundle engine runs no Compose files", hint="leave --engine out, or name docker or podman")
    if options.images or options.beside:
        raise UsageError(
            "--image and --with are for manifests: a Compose project has its images in the engine, its files beside it",
            hint="leave them out; for another image, name it in a compose.override.yaml",
        )
    path = Path(text)
    file = ComposeFile(path=path, text=data, overrides=default_overrides(path))
    program = find_compose(options.settings.engine)
    base = make_cli_engine(program.engine)
    for_swarm = any(workload.source == "stack" for workload in read_compose(text, data).workloads)
    project = file.read(program)
    return ComposeGroup(file=file, program=program, base=base, project=project, options=options, stack=for_swarm)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeGroup:
    """The services of a Compose file that are to be hardened."""

    file: ComposeFile
    program: ComposeProgram
    base: CliEngine
    project: Project
    options: GroupOptions = field(default_factory=GroupOptions)
    as_it_stands: bool = False
    stack: bool = False
    """Swarm is to run it, which reads the file otherwise; here Compose does."""

    @property
    def name(self) -> str:
        """The file's path."""
        return str(self.file.path)

    @property
    def engine(self) -> str:
        """`docker compose`, or what stands in for it."""
        return " ".join(self.program.words)

    @property
    def text(self) -> bytes:
        """The file as it is."""
        return self.file.text

    @property
    def members(self) -> Sequence[str]:
        """The services, each after those that it needs."""
        self.options.insist_on(self.name, self.project.services, sorted(self.project.services))
        chosen = self.options.only or [name for name in self.project.services if name in self.project.active]
        chosen = [name for name in chosen if "provider" not in self.project.services[name]]
        chosen = [name for name in chosen if name not in self._left_out]
        if not chosen:
            raise NothingToExamine(
                f"{printable(self.name)}: no service to harden", hint="name one of a profile with --service NAME"
            )
        return sorted(chosen, key=lambda name: (len(self.project.needed_by(name)), list(chosen).index(name)))

    @property
    def cannot_show(self) -> tuple[str, ...]:
        """Which services were not tried, and why; and that Swarm was not there."""
        swarm = ("it was run by Compose on this host, not by Swarm",) if self.stack else ()
        return swarm + tuple(
            f"service {name} was not hardened: it reaches the engine's socket, so that a copy of it would act on what "
            f"runs here; try it all the same with --service {name}"
            for name in self._left_out
        )

    def engine_for(self, member: str, plans: Mapping[str, MemberPlan]) -> Case:
        """Return what runs a service in a scratch project, the others as planned or as they are."""
        self._insist_on_files(member)
        engine = ComposeEngine(
            base=self.base,
            program=self.program,
            file=self.file,
            project=self.project,
            others=plans,
            as_it_stands=self.as_it_stands,
            copier=self.options.manifest.copier,
            patience=max(self.options.exercise.timeout, 60.0) * 2,
        )
        target = Target(kind=TargetKind.SERVICE, engine=self.program.engine, reference=member)
        return engine, target, self._exercise(member)

    def patch(self, plans: Mapping[str, MemberPlan]) -> Patched:
        """Return the file with the plans of its services in it."""
        planned = []
        for name, member in plans.items():
            # What a seed comes to depends on all that the image has there, which only the engine has listed.
            image = self.base.facts(self.project.line(name), member.image.reference, member.plan.mounts)
            route = ("services", name)
            document = self._document_of(route)
            planned.append(Planned(document=document, route=route, container=name, plan=member.plan, image=image))
        if self.stack:
            return stack.patch(self.file.text, planned)
        patched = self._patch(planned)
        try:
            otherwise = self._read_otherwise(patched, planned)
        except Uneditable as error:
            reason = f"the patched files can't be run together before they are written: {error}"
            otherwise = [self._left_to_a_person(one, reason) for one in planned]
        if not otherwise:
            return patched
        left = [one for one in planned if one.container not in {refused.container for refused in otherwise}]
        patched = self._patch(left)
        return replace(patched, refused=(*patched.refused, *otherwise))

    def _patch(self, planned: Sequence[Planned]) -> Patched:
        manner = compose.Manner(engine=self.program.engine, copier=self.options.manifest.copier)
        return patch_project(self.name, self.file.text, planned, manner)

    def as_patched(self, patched: Patched) -> Group:
        """Return the project that the patched files describe, to be run as it stands."""
        file = replace(self.file, text=patched.text)
        return replace(self, file=file, project=self._patched_project(patched), as_it_stands=True)

    def _patched_project(self, patched: Patched) -> Project:
        with laid_out(self.file.path, patched) as (text, overrides):
            return replace(self.file, text=text, overrides=overrides).read(self.program)

    def _read_otherwise(self, patched: Patched, planned: Sequence[Planned]) -> list[Refused]:
        """Return the services of which Compose itself makes something else than what is planned."""
        project = self._patched_project(patched)
        done = {one.container for one in planned} - {refused.container for refused in patched.refused}
        found = []
        for one in planned:
            if one.container in done and _is_missing(project, one):
                reason = f"what {self.engine} makes of the patched files is not what was planned"
                found.append(self._left_to_a_person(one, reason))
        return found

    def _left_to_a_person(self, one: Planned, reason: str) -> Refused:
        by_hand = compose.by_hand(one, {}, compose.Manner(engine=self.program.engine))
        return Refused(container=one.container, reason=reason, by_hand=by_hand, remedy=compose.OVERRIDE)

    @property
    def _left_out(self) -> tuple[str, ...]:
        if self.options.only:
            return ()
        return tuple(sorted(filter(self.project.drives_engine, self.project.active)))

    def _exercise(self, member: str) -> Exercise:
        """Return what the user said, as far as it can tell of `member`, and the service's own health check."""
        exercise = self.options.exercise
        if not self._concerned(member):
            exercise = replace(exercise, http=None, tcp=None)
        health = self.project.health(member)
        if not health:
            return exercise
        return replace(exercise, probes=(Probe(name="health", command=health, timeout=10.0),))

    def _concerned(self, member: str) -> bool:
        """Tell whether a question at a published port is one to `member`, or to a service that needs it."""
        exercise = self.options.exercise
        ports = {exercise.tcp, _port_of(exercise.http) if exercise.http else None}
        publishers = [name for name in self.project.services if ports & self.project.ports(name).keys()]
        return not publishers or any(name == member or member in self.project.needed_by(name) for name in publishers)

    def _document_of(self, route: Route) -> int:
        """Return which document of the file has a service; the first where none has."""
        for document in read_documents(self.file.text):
            if isinstance(document, Document) and len(document.entry_lines(route)) == len(route):
                return document.index
        return 0

    def _insist_on_files(self, member: str) -> None:
        """Raise TargetBroken where Compose would not start the service read-only, whatever is mounted."""
        service = self.project.service(member)
        for table in ("configs", "secrets"):
            for entry in service.get(table) or ():
                known = self.project.tables[table].get(str(entry.get("source"))) or {}
                if "file" not in known and not known.get("external"):
                    name = printable(str(entry.get("source")))
                    raise TargetBroken(
                        f"Compose starts no read-only service with the {table[:-1]} {name}, which is not in a file",
                        hint=f"put it in a file and say `file: ./{name}` in its place",
                    )


def _is_missing(project: Project, one: Planned) -> bool:
    """Tell whether a service, as Compose has it, lacks something of its plan."""
    assert one.image is not None
    wanted = plan_service(project.line(one.container), one.image, one.plan)
    more = (wanted.tmpfs, wanted.volumes, wanted.environment, wanted.arguments, wanted.working_directory)
    return project.service(one.container).get("read_only") is not True or any(more)


def _port_of(url: str) -> int:
    parts = urlsplit(url if "//" in url else f"http://{url}")
    return parts.port or (443 if parts.scheme == "https" else 80)
