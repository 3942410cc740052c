"""An image comes from a registry that is not ours.

What our registry holds has been scanned and signed. Remediation: copy the image there.
"""

from collections.abc import Iterator

from lithify.model.finding import Finding, Rule, Severity
from lithify.model.workload import Workload

RULE = Rule("image-from-our-registry", Severity.MEDIUM, "The image is not from our registry", {"ACME": ("A-7",)})


def check(workload: Workload) -> Iterator[Finding]:
    """Yield a finding for each container whose image is from elsewhere."""
    for container in workload.containers:
        if container.image and not container.image.startswith("registry.acme.example/"):
            yield RULE.finding(container, f"{container.label} runs {container.image}", "image")
