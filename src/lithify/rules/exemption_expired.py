"""An exemption is past its last day.

Somebody accepted a finding until a date, and the date has passed: the finding counts again.

Remediation: mend what was accepted, or accept it anew with a later date.

Before::

    # lithify: ignore[writable-root-filesystem] vendor promised a fix owner=web until=2024-01-31

After::

    securityContext: {readOnlyRootFilesystem: true}

References: `lithify audit --help`.
"""

from lithify.model.finding import Rule, Severity

RULE = Rule("exemption-expired", Severity.MEDIUM, "An exemption has expired")
