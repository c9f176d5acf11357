"""What a job type that kills its workers costs the healthy jobs beside it."""
