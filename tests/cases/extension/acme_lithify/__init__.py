"""What a distribution adds to `lithify audit`: a rule, a source and a report."""
