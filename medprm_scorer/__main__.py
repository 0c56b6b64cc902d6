"""`python -m medprm_scorer` is `medprm`."""

import sys

from medprm_scorer.cli.app import main

sys.exit(main())
