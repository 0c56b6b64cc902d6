"""Files that are read record by record, and files that survive a killed process."""
