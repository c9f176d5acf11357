"""PostgreSQL as a job store. Nothing here is imported before a URL names one."""
