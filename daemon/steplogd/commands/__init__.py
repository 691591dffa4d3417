"""The commands of `steplogd`, one file each: its arguments, and what it does."""
