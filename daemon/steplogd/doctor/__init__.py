"""What `steplogd doctor` looks at: one file for each thing, all of which only look."""
