"""An exemption gives no reason, or names no rule, or one that there is not.

Nobody can tell later whether it still holds. It is honoured if the rule exists, and reported until it says why.

Remediation: say why, who answers for it, and until when.

Before::

    # lithify: ignore[writable-root-filesystem]

After::

    # lithify: ignore[writable-root-filesystem] installs plugins at start owner=web until=2027-06-30

References: `lithify audit --help`.
"""

from lithify.model.finding import Rule, Severity

RULE = Rule("exemption-without-reason", Severity.LOW, "An exemption gives no reason")
