"""Recipe search: `longtail tune`. Depends on campaigns as values, on neither stores nor runners."""
