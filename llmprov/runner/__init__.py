"""ansible-runner behind a small interface: events in, journal and outcome out."""
