"""The user's own code: which functions may be called, how they are found, and how calls to them end."""
