"""A report as a STIG checklist (CKLB), the file of STIG Viewer 3: the rule about the read-only root filesystem.

Only that rule is answered; with an existing checklist the answer goes into it, and everything else there stays.
"""

import json
import uuid
from pathlib import Path
from typing import Any

from lithify.errors import InvalidInput
from lithify.model.finding import ContainerVerdict, Report, State
from lithify.model.text import printable
from lithify.report.base import Write

_SPACE = uuid.UUID("6f0a5a1e-5b77-5c1f-9a52-2f8f1f0b9a11")
_GROUP = "V-260936"
_RULE = "SV-260936r966168"
_LISTED = 200

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
    status, details = _judge(report)
    answer = {"status": status, "finding_details": details, "comments": _comments(report, status)}
    document = _merged(merge_into, answer) if merge_into else _checklist(answer)
    write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _judge(report: Report) -> tuple[str, str]:
    """Return the status that what was seen gives, and what was seen, container by container."""
    swarm: list[ContainerVerdict] = []
    kubernetes = 0
    for container in report.containers():
        if container.object.kind in ("ComposeService", "StackService", "Container", "SwarmService"):
            swarm.append(container)
        else:
            kubernetes += 1
    open_ones = [container for container in swarm if container.verdict is State.WRITABLE]
    lines = [
        f"ReadonlyRootfs={_flag(c)}: {_name(c)}" for c in sorted(swarm, key=lambda c: c.verdict is not State.WRITABLE)
    ]
    if len(lines) > _LISTED:
        lines[_LISTED:] = [f"... and {len(lines) - _LISTED} more"]
    if kubernetes:
        lines.append(f"{kubernetes} containers under Kubernetes, to which this check does not apply")
    if open_ones:
        return "open", "\n".join(lines)
    if swarm:
        return "not_reviewed", "\n".join(lines)
    return ("not_applicable" if kubernetes else "not_reviewed"), "\n".join(lines) or "No container was seen."


def _flag(container: ContainerVerdict) -> str:
    return "true" if container.declared else "false"


def _name(container: ContainerVerdict) -> str:
    effective = f", effectively {container.effective.value}" if container.declared else ""
    return printable(f"{container.location} {container.object.name or container.name} ({container.image}){effective}")


def _comments(report: Report, status: str) -> str:
    text = (
        f"Evaluated by lithify {report.tool_version} on {report.today} from files: what they declare. "
        f"This checklist answers {_GROUP} alone; it merges into a full one by rule_id or group_id."
    )
    if status == "not_reviewed":
        text += " Nothing open was declared; the check itself asks the engine, which files can't stand for."
    elif status == "not_applicable":
        text += " The check is not applicable where Kubernetes is the orchestrator."
    return text


def _checklist(answer: dict[str, str]) -> dict[str, Any]:
    stig = str(uuid.uuid5(_SPACE, "stig"))
    return {
        "title": "lithify audit",
        "id": str(uuid.uuid5(_SPACE, "checklist")),
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
        "group_tree": [{"id": _GROUP, "title": "", "description": ""}],
        "group_id": _GROUP,
        "severity": "medium",
        "group_title": "",
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
        "ccis": [],
        "reference_identifier": None,
        "uuid": str(uuid.uuid5(_SPACE, "rule")),
        "stig_uuid": stig,
        "status": answer["status"],
        "overrides": {},
        "comments": answer["comments"],
        "finding_details": answer["finding_details"],
        "srg_id": "",
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
        rule.update(answer)
    return document
