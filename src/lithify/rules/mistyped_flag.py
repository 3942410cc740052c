"""The flag has a value that is no boolean.

`readOnlyRootFilesystem: "true"` is a string. The API server refuses the object, so what runs, if anything does, is
something else than what the file says; scanners that test for truth call it read-only.

Remediation: write `true` without quotes. In a Helm template, do not pipe the value through `quote`.

Before::

    securityContext: {readOnlyRootFilesystem: "true"}

After::

    securityContext: {readOnlyRootFilesystem: true}

References: Kubernetes API, SecurityContext.
"""

from lithify.model.finding import Rule, Severity

RULE = Rule("mistyped-flag", Severity.HIGH, "The flag is no boolean")
