"""What steplog costs, measured beside what a user would pick instead: one file per question."""
