"""The servers that are measured, each started as its own documents say."""
