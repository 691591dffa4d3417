"""steplogd: the daemon that folds spools into run logs and feeds the trackers."""
