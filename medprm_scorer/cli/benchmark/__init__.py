"""`medprm bench`: the speed of scoring, compared with simpler methods."""
