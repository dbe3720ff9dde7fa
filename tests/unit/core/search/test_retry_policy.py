"""The retry policy and the circuit breaker, with a clock that the test advances."""

import itertools

import pytest

from movie_core.search.retry_policy import (
    Admission,
    BreakerState,
    CircuitBreaker,
    LatencyTracker,
    RetryPolicy,
    StatusSet,
)

STEP = 0.01


class ManualClock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> CircuitBreaker:
    return CircuitBreaker(RetryPolicy(), clock)


def fail(breaker: CircuitBreaker, clock: ManualClock, times: int, every: float = 0.001) -> None:
    for _ in range(times):
        breaker.failed("status")
        clock.now += every


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("400-409,425,429,5xx", (400, 409, 425, 429, 500, 599), (399, 410, 424, 426, 499, 600, 302)),
        ("503", (503,), (502, 504)),
        (" 408 , 4xx ", (400, 408, 499), (500,)),
    ],
)
def test_a_status_set_contains_the_named_statuses(text: str, inside: tuple[int, ...], outside: tuple[int, ...]) -> None:
    statuses = StatusSet.parse(text)
    assert [status for status in inside + outside if status in statuses] == list(inside)
    assert StatusSet.parse(str(statuses)) == statuses


@pytest.mark.parametrize(
    "text",
    ["", ",", "400,", "40", "4000", "6xx", "0xx", "5XX", "409-400", "099", "600", "400-", "-40", "٤٠٠", "a", "1-2"],
)
def test_an_invalid_status_set_is_rejected(text: str) -> None:
    with pytest.raises(ValueError):
        StatusSet.parse(text)


def test_a_status_set_contains_only_numbers() -> None:
    assert "500" not in StatusSet.parse("5xx")
    assert None not in StatusSet.parse("5xx")


def test_backoff_grows_within_its_bounds() -> None:
    retry_policy = RetryPolicy()
    highest = [retry_policy.backoff(failures, 1.0) for failures in range(1, 2000)]
    assert {retry_policy.backoff(failures, 0.0) for failures in range(1, 2000)} == {0.025}
    assert highest == sorted(highest)
    assert (highest[0], highest[-1]) == (0.05, 0.25)


def test_fourteen_quick_failures_fit_the_deadline() -> None:
    retry_policy = RetryPolicy()
    waits = sum(retry_policy.backoff(failures, 0.5) for failures in range(1, retry_policy.max_attempts))
    assert retry_policy.max_attempts == 14
    assert waits + 14 * 0.06 < retry_policy.deadline - 0.5


def test_the_breaker_opens_at_the_fiftieth_failure_in_a_row(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, clock, 49)
    assert breaker.state is BreakerState.CLOSED
    fail(breaker, clock, 1)
    assert breaker.state is BreakerState.OPEN


def test_the_breaker_opens_after_a_second_of_failures_without_a_success(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, clock, 5, every=0.2)
    assert breaker.state is BreakerState.CLOSED
    fail(breaker, clock, 1)
    assert breaker.state is BreakerState.OPEN


def test_the_breaker_does_not_open_by_failure_rate(breaker: CircuitBreaker, clock: ManualClock) -> None:
    for _ in range(200):
        fail(breaker, clock, 49, every=0.002)
        breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED


def test_an_idle_hour_does_not_count_as_failures(breaker: CircuitBreaker, clock: ManualClock) -> None:
    for _ in range(5):
        fail(breaker, clock, 1, every=3600)
    assert breaker.state is BreakerState.CLOSED
    breaker.succeeded()
    clock.now += 3600
    fail(breaker, clock, 1)
    assert breaker.state is BreakerState.CLOSED


def test_consecutive_timeouts_open_the_breaker(clock: ManualClock) -> None:
    breaker = CircuitBreaker(RetryPolicy(timeout=5), clock)
    fail(breaker, clock, 2, every=5.2)
    assert breaker.state is BreakerState.OPEN


def test_while_open_five_calls_a_second_are_allowed(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, clock, 50)
    left = []
    while clock.now < 1010:
        if breaker.admit() is not Admission.REJECTED:
            left.append(clock.now)
            breaker.failed("status")
        if breaker.retry() == 0:
            left.append(clock.now)
            breaker.failed("status")
        clock.now += STEP
    assert len(left) == 47  # from 1000.25 on, every 0.21 s: twenty steps of the clock are slightly less than 0.2 s
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(left))


def test_without_recent_failures_one_request_may_wait_for_the_result(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, clock, 50)
    clock.now += 0.3
    assert breaker.admit() is Admission.PROBE
    assert breaker.admit() is Admission.REJECTED
    clock.now += 2
    assert breaker.admit() is Admission.TRIAL
    clock.now += 0.3
    assert breaker.admit() is Admission.PROBE


def test_running_requests_wait_for_a_probe_while_the_outage_is_not_confirmed(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    fail(breaker, clock, 7, every=0.18)
    assert breaker.state is BreakerState.OPEN
    wait = breaker.retry()
    assert wait is not None
    assert 0 < wait <= 0.2
    clock.now += wait
    assert breaker.retry() == 0


def test_running_requests_give_up_when_the_outage_is_confirmed(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, clock, 50)
    clock.now += 10
    assert breaker.retry() is None


def test_a_success_half_opens_and_five_close(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, clock, 50)
    states = []
    for _ in range(5):
        breaker.succeeded()
        states.append(breaker.state)
    assert states == [BreakerState.HALF_OPEN] * 4 + [BreakerState.CLOSED]


def test_failures_between_successes_do_not_keep_it_from_closing(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, clock, 50)
    for _ in range(5):
        breaker.succeeded()
        fail(breaker, clock, 3)
    assert breaker.state is BreakerState.CLOSED


def test_the_breaker_reopens_from_half_open(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, clock, 50)
    breaker.succeeded()
    fail(breaker, clock, 50)
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit() is Admission.REJECTED


def test_retries_are_limited_while_half_open_and_only_then(clock: ManualClock) -> None:
    breaker = CircuitBreaker(RetryPolicy(retry_ratio=0.25), clock)
    assert all(breaker.retry() == 0 for _ in range(1000))
    fail(breaker, clock, 50)
    breaker.succeeded()
    assert all(breaker.admit() is Admission.ALLOWED for _ in range(100))
    granted = sum(breaker.retry() == 0 for _ in range(100))
    assert granted == 26  # a quarter of the requests, and one by time
    wait = breaker.retry()
    assert wait is not None
    assert wait == pytest.approx(0.1)
    clock.now += wait
    assert breaker.retry() == 0
    for _ in range(4):
        breaker.succeeded()
    assert all(breaker.retry() == 0 for _ in range(1000))


def test_a_snapshot_has_state_duration_and_fault(breaker: CircuitBreaker, clock: ManualClock) -> None:
    assert (breaker.snapshot().state, breaker.snapshot().last_fault) == (BreakerState.CLOSED, None)
    for _ in range(50):
        breaker.failed("timeout")
    clock.now += 7
    now = breaker.snapshot()
    assert (now.state, now.failures, now.last_fault) == (BreakerState.OPEN, 50, "timeout")
    assert now.seconds == pytest.approx(7)


def test_a_slow_source_does_not_count_as_hanging(clock: ManualClock) -> None:
    latency = LatencyTracker(clock)
    for _ in range(100):
        latency.succeeded(0.5)
    assert latency.hedge_delay() is None, "no call has hung"
    for _ in range(3):
        latency.hung()
    assert latency.hedge_delay() == pytest.approx(1.25)


def test_hanging_calls_among_quick_ones_are_detected(clock: ManualClock) -> None:
    latency = LatencyTracker(clock)
    for _ in range(3):
        latency.hung()
    for number in range(49):
        latency.succeeded(0.06 if number % 20 else 0.6)
    assert latency.hedge_delay() is None, "too few samples"
    latency.succeeded(0.06)
    assert latency.hedge_delay() == pytest.approx(0.15)
    clock.now += 5.1
    assert latency.hedge_delay() is None, "the samples are too old"


def test_a_closed_breaker_allows_every_request(breaker: CircuitBreaker, clock: ManualClock) -> None:
    fail(breaker, clock, 10)
    assert breaker.state is BreakerState.CLOSED
    assert [breaker.admit() for _ in range(3)] == [Admission.ALLOWED] * 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("400-499", "4xx"),
        ("4xx", "4xx"),
        ("400-498", "400-498"),
        ("401-500", "401-500"),
        ("400-599", "400-599"),
        ("400-400", "400"),
        ("100-199,599", "1xx,599"),
    ],
)
def test_a_status_set_is_written_in_its_shortest_form(text: str, shown: str) -> None:
    assert str(StatusSet.parse(text)) == shown


def test_backoff_is_uniform_up_to_a_ceiling_that_grows_by_a_quarter() -> None:
    retry_policy = RetryPolicy(min_backoff=0.1, max_backoff=0.3)
    assert [retry_policy.backoff(failures, 1.0) for failures in (1, 2, 3)] == pytest.approx([0.2, 0.25, 0.3])
    assert [retry_policy.backoff(2, chance) for chance in (0.0, 0.5)] == pytest.approx([0.1, 0.175])
    assert RetryPolicy(min_backoff=0.5, max_backoff=0.2).backoff(3, 1.0) == 0.5


def test_the_first_probe_is_allowed_a_fifth_of_a_second_after_opening(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    for _ in range(50):
        breaker.failed("status")
    clock.now += 0.19
    assert breaker.admit() is Admission.REJECTED
    clock.now += 0.02
    assert breaker.admit() is Admission.PROBE
    assert breaker.admit() is Admission.REJECTED
    clock.now += 0.21
    assert breaker.admit() is Admission.PROBE


@pytest.mark.parametrize(("age", "admission"), [(1.49, Admission.PROBE), (1.51, Admission.TRIAL)])
def test_a_failure_says_nothing_after_one_and_a_half_seconds(
    breaker: CircuitBreaker, clock: ManualClock, age: float, admission: Admission
) -> None:
    for _ in range(50):
        breaker.failed("status")
    clock.now += age
    assert breaker.admit() is admission


def test_after_a_trial_the_next_requests_are_probes_until_it_is_old_too(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    for _ in range(50):
        breaker.failed("status")
    clock.now += 2
    admissions = []
    for _ in range(9):
        admissions.append(breaker.admit())
        clock.now += 0.21
    assert admissions == [Admission.TRIAL, *[Admission.PROBE] * 7, Admission.TRIAL]


@pytest.mark.parametrize(("gap", "state"), [(1.69, BreakerState.OPEN), (1.71, BreakerState.CLOSED)])
def test_failures_count_as_one_outage_if_no_gap_exceeds_a_second_and_a_timeout(
    breaker: CircuitBreaker, clock: ManualClock, gap: float, state: BreakerState
) -> None:
    breaker.failed("status")
    clock.now += gap
    breaker.failed("status")
    assert breaker.state is state


def test_an_outage_is_confirmed_by_fifty_failures_and_refuted_by_a_success(breaker: CircuitBreaker) -> None:
    for _ in range(49):
        breaker.failed("status")
    assert not breaker.is_outage_confirmed
    breaker.failed("status")
    assert breaker.is_outage_confirmed
    breaker.succeeded()
    assert not breaker.is_outage_confirmed
    assert breaker.snapshot().failures == 0


def test_the_budget_of_retries_is_bounded_and_starts_empty(clock: ManualClock) -> None:
    breaker = CircuitBreaker(RetryPolicy(retry_ratio=1.0, failures_to_open=3), clock)
    for _ in range(2):
        for _ in range(3):
            breaker.failed("status")
        breaker.succeeded()
        assert breaker.state is BreakerState.HALF_OPEN
        assert breaker.retry() == 0  # by time
        wait = breaker.retry()
        assert wait == pytest.approx(0.1)
        for _ in range(10):
            breaker.admit()
        assert [breaker.retry() == 0 for _ in range(4)] == [True, True, True, False]
        for _ in range(2):
            breaker.admit()
        clock.now += 0.2


def test_four_successes_close_again_only_with_a_fifth_after_reopening(clock: ManualClock) -> None:
    breaker = CircuitBreaker(RetryPolicy(failures_to_open=2), clock)
    for _ in range(2):
        breaker.failed("status")
        breaker.failed("status")
        for _ in range(4):
            breaker.succeeded()
        assert breaker.state is BreakerState.HALF_OPEN
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize(("slow", "delay"), [(5, 1.0), (4, 0.25)])
def test_the_hedge_delay_is_two_and_a_half_times_the_90th_percentile(
    clock: ManualClock, slow: int, delay: float
) -> None:
    latency = LatencyTracker(clock)
    for _ in range(3):
        latency.hung()
    for number in range(50):
        latency.succeeded(0.4 if number < slow else 0.1)
    assert latency.hedge_delay() == pytest.approx(delay)


def test_two_hanging_calls_are_too_few_and_old_ones_do_not_count(clock: ManualClock) -> None:
    latency = LatencyTracker(clock)
    for _ in range(50):
        latency.succeeded(0.1)
    latency.hung()
    latency.hung()
    assert latency.hedge_delay() is None
    clock.now += 5
    latency.hung()
    assert latency.hedge_delay() == pytest.approx(0.25)
    clock.now += 0.01
    assert latency.hedge_delay() is None, "the first sample and the first hanging call are older than the window"
    for _ in range(50):
        latency.succeeded(0.1)
    assert latency.hedge_delay() is None, "two of the hanging calls are still too old"
    latency.hung()
    latency.hung()
    assert latency.hedge_delay() == pytest.approx(0.25)


def test_a_call_quicker_than_fifteen_hundredths_never_counts_as_hanging(clock: ManualClock) -> None:
    latency = LatencyTracker(clock)
    for _ in range(3):
        latency.hung()
    for _ in range(50):
        latency.succeeded(0.01)
    assert latency.hedge_delay() == pytest.approx(0.15)
