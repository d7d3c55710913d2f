"""The parts of one emulator, and everything that the emulator remembers."""

from fireworks_batch.emulator.accounts import AccountEndpoints
from fireworks_batch.emulator.clock import EmulatedClock
from fireworks_batch.emulator.datasets.endpoints import DatasetEndpoints
from fireworks_batch.emulator.datasets.storage import Storage
from fireworks_batch.emulator.datasets.store import DatasetStore
from fireworks_batch.emulator.datasets.transfers import DatasetTransfers
from fireworks_batch.emulator.http.faults import FaultBook
from fireworks_batch.emulator.http.gateway import Gateway, RateLimit
from fireworks_batch.emulator.http.port import Port
from fireworks_batch.emulator.http.request_log import RequestLog, Watch
from fireworks_batch.emulator.http.routing import Router
from fireworks_batch.emulator.jobs.endpoints import JobEndpoints
from fireworks_batch.emulator.jobs.responder import Responder
from fireworks_batch.emulator.jobs.store import JobStore
from fireworks_batch.emulator.jobs.workshop import Workshop
from fireworks_batch.emulator.setting import Setting


class World:
    """Owns the jobs, datasets, faults and requests of one emulator.

    Args:
        setting: What all parts of the emulator share.

        tick: The time between two changes of a job, in emulated seconds, 0 or more.

        requests_per_minute: The most requests of the account in an emulated minute, 1 or more;
            None means no limit.

        responder: Answers the rows.

        url_grace: The least time for which a signed URL is valid, in real seconds.

        watches: The functions that get every exchange.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        tick: float,
        requests_per_minute: int | None,
        responder: Responder,
        url_grace: float,
        watches: tuple[Watch, ...],
    ) -> None:
        self.setting = setting
        self.clock: EmulatedClock = setting.clock
        self.log: RequestLog = RequestLog(setting.clock)
        self.faults: FaultBook = FaultBook(setting.seed)
        self.datasets: DatasetStore = DatasetStore(setting, url_grace=url_grace)
        self.jobs: JobStore = JobStore(setting, tick=tick)
        self.workshop: Workshop = Workshop(setting, self.jobs, self.datasets, responder)
        self._limit = RateLimit(requests_per_minute)
        self._watches = watches

    def reset(self) -> None:
        """Forget everything but the settings and the time."""
        self.setting.reset()
        self.log.clear()
        self.faults.reset()
        self._limit.reset()
        self.clear_datasets()
        self.jobs.reset()

    def clear_datasets(self) -> None:
        """Forget the datasets, and remove their files and the work on them."""
        self.jobs.forget_work()
        self.datasets.clear()

    def api_port(self, control: Router) -> Port:
        """Return the port of the API. It also answers the control protocol."""
        setting = self.setting
        router = Router(wrong_method_status=int(setting.rules.wrong_method_status))
        AccountEndpoints(setting).add_to(router)
        JobEndpoints(setting, self.jobs, self.datasets, self.workshop).add_to(router)
        endpoints = DatasetEndpoints(setting, self.datasets, self.workshop)
        endpoints.add_to(router)
        DatasetTransfers(setting, self.datasets, endpoints).add_to(router)
        site = Gateway(setting, self._limit, router)
        return Port(setting, self.log, self.faults, site, watches=self._watches, control=control)

    def storage_port(self) -> Port:
        """Return the port of the storage."""
        site = Storage(self.setting, self.datasets)
        return Port(self.setting, self.log, self.faults, site, watches=self._watches)
