"""Files of a store: on a local disk and in object stores."""
