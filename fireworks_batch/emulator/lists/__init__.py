"""What a list call asks for: filters, masks, orders and pages."""
