"""What goes in and comes out, and how it looks in a terminal and on a page."""
