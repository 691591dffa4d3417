"""Run logs that another program wrote, turned into spools: the file, its shape, its lines."""
