"""Where results go: publisher, ledger, quarantine."""
