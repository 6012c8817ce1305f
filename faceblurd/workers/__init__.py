"""The processes that look at pixels."""
