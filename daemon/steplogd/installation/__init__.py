"""How the daemon becomes a service of systemd: which units, in which steps, carried out by whom."""
