"""Recipe search: `longtail tune`. Knows campaigns as values, and neither stores nor runners."""
