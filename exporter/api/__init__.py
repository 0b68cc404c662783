"""The Python API; programs import its classes from `exporter`."""
