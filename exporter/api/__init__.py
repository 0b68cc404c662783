"""The classes that other programs use; `exporter` itself hands them on."""
