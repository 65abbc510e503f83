"""Rules that say whether hosts are fit; pure functions over gathered facts."""
