"""The tests, by what they need: nothing, real trackers, real processes, or patience."""
