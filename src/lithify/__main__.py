"""`python -m lithify`: the command, where its script is not on the PATH."""

import sys

from lithify.cli.main import main

sys.exit(main())
