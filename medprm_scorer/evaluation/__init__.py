"""`medprm evaluate`: how often each selection method is right, on questions with known answers."""
