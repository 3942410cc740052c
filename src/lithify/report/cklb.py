"""A report as a STIG checklist (CKLB), the file of STIG Viewer 3: the rule about the read-only root filesystem.

Only that rule is answered; with an existing checklist the answer goes into it, and everything else there stays.
"""

import json
import uuid
from pathlib import Path
from typing import Any

from lithify.errors import InvalidInput
from lithify.model.finding import ContainerVerdict, Report, State
from lithify.model.text import counted, printable
from lithify.model.workload import Exemption
from lithify.report.base import OF_ENGINES, OF_OTHERS, Write

_SPACE = uuid.UUID("6f0a5a1e-5b77-5c1f-9a52-2f8f1f0b9a11")
_GROUP = "V-260936"
_RULE = "SV-260936r966165"
# The group's title in the STIG (its XCCDF, version 1, has SRG-APP-000342-CTR-000775 above V-260936). The identifier is
# the one that this requirement has in the Container Platform SRG (V-233163) and in the STIG's own V-260939.
_SRG = "SRG-APP-000342-CTR-000775"
_CCIS = ["CCI-002233"]
_LISTED = 200
_OURS = "Evaluated by lithify "
"""How a comment of ours begins: another run takes its place, what a person wrote stays."""

_TITLE = "All containers must be restricted to mounting the root filesystem as read only."
_CHECK = (
    "When using Swarm orchestration, check the root filesystem of all containers, running or not: "
    "docker ps --quiet --all | xargs -L 1 docker inspect --format "
    "'{{ .Name }}: ReadonlyRootfs={{ .HostConfig.ReadonlyRootfs }}'. "
    "If ReadonlyRootfs=false for any container, this is a finding. When using Kubernetes orchestration this is not "
    "applicable."
)
_FIX = (
    "Start the container with a read-only root filesystem (--read-only, read_only: true), and mount storage where it "
    "must write: lithify plan names these places."
)


def render(report: Report, write: Write, *, merge_into: str | None = None) -> None:
    """Write a checklist with the one rule, or the checklist at `merge_into` with that rule answered.

    InvalidInput where that file is no checklist, or has no such rule.
    """
    seen = _Seen(report)
    answer = {"status": seen.status, "finding_details": seen.details(), "comments": _comments(report, seen)}
    document = _merged(merge_into, answer) if merge_into else _checklist(answer)
    write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


class _Seen:
    """What a report has for the check, and the status that it gives."""

    def __init__(self, report: Report) -> None:
        self.judged: list[ContainerVerdict] = []
        self.kubernetes = 0
        self.pods_run = False
        """Some of these were seen in a cluster or on a node."""
        self.others = 0
        self.exempted: dict[int, str] = {}
        """What was accepted, in words, by the container's id."""
        all_named = True
        for result in report.results():
            for container in result.containers:
                if container.object.kind in OF_ENGINES:
                    self.judged.append(container)
                elif container.object.kind in OF_OTHERS:
                    self.others += 1
                else:
                    self.kubernetes += 1
                    self.pods_run = self.pods_run or bool(container.id)
            for finding in result.findings:
                if finding.exemption is not None and finding.rule == "writable-root-filesystem":
                    words = _accepted(finding.exemption)
                    named = [one for one in (finding.container, *finding.also) if isinstance(one, ContainerVerdict)]
                    self.exempted.update((id(one), words) for one in named if one.object.kind in OF_ENGINES)
            all_named = all_named and not any(skipped.location.route == ("containers",) for skipped in result.skipped)
        self.running = [c for c in self.judged if c.id and c.object.kind == "Container"]
        # The engine was asked what the check asks it, of all its containers.
        self.complete = bool(self.running) and all_named and all(container.id for container in self.judged)

    @property
    def status(self) -> str:
        """The status that the check gives: by the flag, whatever holds in effect."""
        if any(container.verdict is State.WRITABLE for container in self.judged):
            return "open"
        if self.judged:
            return "not_a_finding" if self.complete else "not_reviewed"
        return "not_applicable" if self.kubernetes and not self.others else "not_reviewed"

    def details(self) -> str:
        """What was seen, container by container, what is open first."""
        ordered = sorted(self.judged, key=lambda c: c.verdict is not State.WRITABLE)
        lines = [_line(container) + self.exempted.get(id(container), "") for container in ordered]
        if len(lines) > _LISTED:
            lines[_LISTED:] = [f"... and {len(lines) - _LISTED} more"]
        if self.kubernetes:
            told = counted(self.kubernetes, "container")
            lines.append(f"{told} under Kubernetes, to which this check does not apply")
        if self.others:
            told = counted(self.others, "container")
            lines.append(f"{told} of units and task definitions, which this check does not ask for")
        return "\n".join(lines) or "No container was seen."


def _accepted(exemption: Exemption) -> str:
    """Say that a finding is accepted, why, by whom and until when; to the check it is one all the same."""
    words = [exemption.reason or "no reason given", exemption.owner and f"owner {exemption.owner}"]
    words.append(exemption.until and f"until {exemption.until}")
    return printable(f"; exempted: {', '.join(filter(None, words))}")


def _line(container: ContainerVerdict) -> str:
    flag = f"ReadonlyRootfs={'true' if container.declared else 'false'}"
    differs = bool(container.declared) is not (container.effective is State.READ_ONLY)
    state = f", effectively {container.effective.value}" if container.declared or differs else ""
    why = f": {container.reason}" if container.reason and differs else ""
    if container.id and container.object.kind == "Container":
        # As the check itself prints it, with Docker's slash; what it does not print comes behind.
        engine, _, name = container.location.path.partition(":")
        line = f"{'/' if engine == 'docker' else ''}{name}: {flag}, {engine} {container.id[:12]}"
    else:
        line = f"{flag}: {container.location.path if container.id else container.location}"
        line += "" if container.id else f" {container.object.name or container.name}"
    return printable(f"{line} ({container.image}){state}{why}")


def _comments(report: Report, seen: _Seen) -> str:
    source = "the engine: all its containers, running or not" if seen.complete else "files: what they declare"
    if seen.running and not seen.complete:
        source = "some containers of the engine"
    elif seen.pods_run and not seen.judged:
        source = "what runs under Kubernetes"
    text = (
        f"{_OURS}{report.tool_version} on {report.today} from {source}. "
        f"This checklist answers {_GROUP} alone; it merges into a full one by rule_id or group_id."
    )
    status = seen.status
    void = sum(1 for c in seen.running if c.declared and c.effective is not State.READ_ONLY)
    if void:
        text += f" {void} of them pass by their flag and can write all the same: see the details."
    if status == "not_reviewed" and seen.running:
        text += " Nothing open was seen; the check itself asks for all containers of the engine, and not all were."
    elif status == "not_reviewed" and seen.judged:
        text += " Nothing open was declared; the check itself asks the engine, which files can't stand for."
    elif status == "not_applicable":
        text += " The check is not applicable where Kubernetes is the orchestrator."
    return text


def _checklist(answer: dict[str, str]) -> dict[str, Any]:
    stig = str(uuid.uuid5(_SPACE, "stig"))
    return {
        "title": "lithify audit",
        "id": str(uuid.uuid5(_SPACE, json.dumps(answer))),
        "stigs": [
            {
                "stig_name": "Mirantis Kubernetes Engine Security Technical Implementation Guide",
                "display_name": "Mirantis Kubernetes Engine",
                "stig_id": "Mirantis_Kubernetes_Engine_STIG",
                "release_info": "Release: 1",
                "version": "2",
                "uuid": stig,
                "reference_identifier": None,
                "size": 1,
                "rules": [_rule(stig, answer)],
            }
        ],
        "active": True,
        "mode": 2,
        "has_path": False,
        "target_data": {
            "target_type": "Computing",
            "host_name": "",
            "ip_address": "",
            "mac_address": "",
            "fqdn": "",
            "comments": "",
            "role": "None",
            "is_web_database": False,
            "technology_area": "",
            "web_db_site": "",
            "web_db_instance": "",
            "classification": None,
        },
        "cklb_version": "1.0",
    }


def _rule(stig: str, answer: dict[str, str]) -> dict[str, Any]:
    return {
        "group_id_src": _GROUP,
        "group_tree": [{"id": _GROUP, "title": _SRG, "description": "<GroupDescription></GroupDescription>"}],
        "group_id": _GROUP,
        "severity": "medium",
        "group_title": _SRG,
        "rule_id_src": f"{_RULE}_rule",
        "rule_id": _RULE,
        "rule_version": "CNTR-MK-001160",
        "rule_title": _TITLE,
        "fix_text": _FIX,
        "weight": "10.0",
        "check_content": _CHECK,
        "check_content_ref": {"href": "Mirantis_Kubernetes_Engine_STIG.xml", "name": "M"},
        "classification": "Unclassified",
        "discussion": "",
        "false_positives": "",
        "false_negatives": "",
        "documentable": "false",
        "security_override_guidance": "",
        "potential_impacts": "",
        "third_party_tools": "",
        "ia_controls": "",
        "responsibility": "",
        "mitigations": "",
        "mitigation_control": "",
        "legacy_ids": [],
        "ccis": _CCIS,
        "reference_identifier": None,
        "uuid": str(uuid.uuid5(_SPACE, "rule")),
        "stig_uuid": stig,
        "status": answer["status"],
        "overrides": {},
        "comments": answer["comments"],
        "finding_details": answer["finding_details"],
        "srg_id": _SRG,
    }


def _merged(path: str, answer: dict[str, str]) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(Path(path).read_bytes().decode("utf-8-sig"))
        rules = [rule for stig in document["stigs"] for rule in stig["rules"] if rule["group_id"] == _GROUP]
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}", hint="name a checklist that STIG Viewer 3 saved") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"{path}: not a checklist: {error}", hint="name one that STIG Viewer 3 saved") from error
    if not rules:
        raise InvalidInput(f"{path}: no rule {_GROUP} in it", hint="this is the checklist of another STIG")
    for rule in rules:
        written = str(rule.get("comments") or "").split("\n")
        theirs = "\n".join(line for line in written if not line.startswith(_OURS)).strip("\n")
        rule |= {**answer, "comments": answer["comments"] + (theirs and f"\n{theirs}")}
    return document
