"""Networks whose dense form cannot exist: trained, evolved, saved and measured, with costs by number of links."""
