"""The intake: which spools have grown, their new bytes, and whether a writer of theirs lives."""
