"""From spools to committed run logs: who looks when, what is folded, and when a run has ended."""
