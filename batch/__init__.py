"""texbatch: a manifest in, pictures, a report and an exact bill out."""
