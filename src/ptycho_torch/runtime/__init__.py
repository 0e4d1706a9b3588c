"""What every job needs, whatever it does: errors, streams, locks, leases, provenance."""
