"""Coverage-guided fuzzing, and the corpus that it found worth keeping."""
