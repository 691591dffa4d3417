"""Real processes, real trackers, real disks."""
