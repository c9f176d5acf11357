"""Users' own work end to end: importing real tables, and rendering reports about them."""
