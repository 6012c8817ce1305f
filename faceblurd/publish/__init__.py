"""Where results go, and where held files wait."""
