"""From enqueue to start in an idle pool, and what an idle pool costs."""
