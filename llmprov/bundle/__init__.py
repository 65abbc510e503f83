"""Everything an offline install needs, by digest."""
