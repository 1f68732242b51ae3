"""``make bench``: Gantry and its peers side by side, real servers and real clients, in one run."""
