"""How the emulator speaks HTTP: ports, routes, answers, refusals, faults and the request log."""
