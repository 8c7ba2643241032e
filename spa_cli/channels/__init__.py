"""What depends on what: ids on axes, groups, reasons."""
