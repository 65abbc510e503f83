"""Everything that prints: progress, tables, JSON."""
