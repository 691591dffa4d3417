"""What is tried, one file for each kind of harm."""
