"""Requests and results, and how they are shown in a terminal and on a page."""
