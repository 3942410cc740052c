"""The flag is misspelt, or stands beside the place it belongs to.

`readOnlyFilesystem`, `readonlyRootFilesystem`, `readOnlyRootFileSystem`, or the right name on the container instead of
in its securityContext: the API server drops fields it does not know, and the container stays writable.

Remediation: write `readOnlyRootFilesystem`, in the container's securityContext (Compose: `read_only`, Quadlet:
`ReadOnly`, ECS: `readonlyRootFilesystem`).

Before::

    securityContext: {readOnlyFilesystem: true}

After::

    securityContext: {readOnlyRootFilesystem: true}

References: Kubernetes API, SecurityContext; `kubectl apply --validate=strict`.
"""

from lithify.model.finding import Rule, Severity

RULE = Rule("misspelt-flag", Severity.MEDIUM, "The flag is misspelt")
