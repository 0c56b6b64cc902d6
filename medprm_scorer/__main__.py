"""`python -m medprm_scorer` is `medprm`."""

import sys

from medprm_scorer.cli import main

sys.exit(main())
