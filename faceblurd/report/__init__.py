"""What is told: logs, status, and what systemd is told."""
