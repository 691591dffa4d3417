"""What the daemon says: lines of its log, how many of each, and how the journal gets them."""
