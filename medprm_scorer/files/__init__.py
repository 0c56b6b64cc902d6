"""Files that are read record by record, and files that outlive a killed process."""
