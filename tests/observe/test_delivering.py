"""The thread that sends what was recorded to the server ends when it is told to, at whatever moment."""

import threading

from sluicegate.observe.delivering import DeliveryThread


class EndedAsItPassed(threading.Event):
    """One that is set, with the other, right after somebody has waited for it in vain: the worst moment."""

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self.other = other
        self.passed = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        found = super().wait(timeout)
        if not found and not self.passed.is_set():
            self.set()
            self.other.set()
            self.passed.set()
        return found


def test_it_ends_also_when_it_is_stopped_as_its_pause_is_over() -> None:
    sent: list[str] = []
    delivery = DeliveryThread("test", lambda: sent.append("a pause"), every_s=0.001, what="rows")
    closing = EndedAsItPassed(delivery._wake)
    delivery._closing = closing
    delivery.wake()
    assert closing.passed.wait(60)
    thread = delivery.thread
    assert thread is not None
    thread.join(60)
    assert not thread.is_alive()
    delivery.stop(lambda: sent.append("the end"))
    assert sent == ["the end"]


def test_what_comes_after_an_end_is_sent_by_another_thread() -> None:
    sent = threading.Semaphore(0)
    delivery = DeliveryThread("test", sent.release, every_s=0.001, what="rows")
    for _ in range(3):
        delivery.wake()
        assert sent.acquire(timeout=60)
        delivery.stop(sent.release)
        assert delivery.thread is None
        while sent.acquire(blocking=False):
            pass
