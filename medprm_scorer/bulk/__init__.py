"""`medprm score`: a file of requests in, a file of rankings out."""
