"""What workflow files import: the names of both generations, for this host. `centaur_host` does the work."""
