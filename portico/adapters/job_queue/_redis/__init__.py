"""Redis and Valkey: one script per transition, and what surrounds them."""
