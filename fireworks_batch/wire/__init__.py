"""The rules of JSON and HTTP, as functions of plain values. No I/O."""
