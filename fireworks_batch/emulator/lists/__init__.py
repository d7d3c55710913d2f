"""The parameters of list calls, which are filters, masks, orders and pages."""
