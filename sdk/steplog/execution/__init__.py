"""What `steplog exec` is made of: a command as a child, its output, and what it exports."""
