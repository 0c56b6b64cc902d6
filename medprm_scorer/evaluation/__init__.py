"""`medprm evaluate`: how often each way of choosing is right, on questions with known answers."""
