"""User code: which functions may be called, how they are loaded, and how calls to them are guarded."""
