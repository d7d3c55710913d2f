"""How the progress of an up- or download is told."""

from fireworks_batch.cli.figures import percent, size
from fireworks_batch.cli.output import Output

__all__ = ["TransferDisplay", "transfer_line"]


def transfer_line(what: str, done: int, total: int) -> str:
    """Return how far an up- or download is, in words; all alone while its size is not known."""
    if not total:
        return what
    return f"{what} {percent(100 * done / total)} ({size(done)} of {size(total)})"


class TransferDisplay:
    """Tells of an up- or download: as a bar, or in a line for each tenth."""

    def __init__(self, output: Output, what: str) -> None:
        """Begin.

        Args:
            output: Where to.
            what: The first word of the line.
        """
        self._output = output
        self._what = what
        self._done = self._total = self._tenth = 0

    def tell(self, done: int, total: int) -> None:
        """Take how many bytes of how many are done."""
        self._done, self._total = done, total
        tenth = 10 * done // total if total else 0
        if tenth != self._tenth and not (self._output.is_live or self._output.as_json):
            self._output.talk(transfer_line(self._what, done, total))
        self._tenth = tenth

    def picture(self) -> tuple[float | None, str]:
        """Return how far it is."""
        share = 100 * self._done / self._total if self._total else None
        return share, transfer_line(self._what, self._done, self._total)
