"""What is watched, as data: scrape jobs, recording rules, alerts, dashboards."""
