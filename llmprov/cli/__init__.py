"""The command line: one file per verb; each parses, calls one workflow and hands its result to `report`."""
