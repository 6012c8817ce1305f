"""What is told: logs and service notifications."""
