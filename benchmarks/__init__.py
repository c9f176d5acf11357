"""How fast Portico is, and how fast its parts could be at most."""
