"""The configuration: schema, layers, loader, parsers. Pure."""
