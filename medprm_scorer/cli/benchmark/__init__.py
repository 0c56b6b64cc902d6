"""`medprm bench`: the speed of scoring, measured against simpler ways."""
