"""Models share a pool: no race, no wrong tile, and its threads are where, and as idle, as was asked."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from edgesparse_runtime import EdgesparseRuntimeError, Model, Pool

from edgesparse.package.writer import serialize, write
from runtime.tests import samples
from runtime.tests.conftest import PATIENCE_S, in_child, run_program, sanitized

TASKS = Path("/proc/self/task")
PLACING = ("sched_setaffinity", "setpriority")
ALLOWED = sorted(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def sample(host):
    return samples.counting_model(host, tiles=101, step_count=9)


@pytest.fixture(scope="module")
def artifact(sample):
    return serialize([sample.program], {})


@pytest.fixture(scope="module")
def paths(host, sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    write([samples.sparse_model(host).program], {}, folder / "sparse.esp")
    write([sample.program], {}, folder / "counting.esp")
    return [folder / "sparse.esp", folder / "counting.esp"]


@pytest.mark.parametrize("sanitizer", ["thread", "address"])
def test_a_thread_that_sleeps_through_jobs_of_others_takes_no_wrong_tile(sanitizer):
    result = run_program(sanitized("claims.c", sanitizer), "turns", 2000)

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("sanitizer", ["thread", "none"])
def test_callers_take_turns_in_the_order_in_which_they_come(sanitizer):
    result = run_program(sanitized("claims.c", sanitizer), "order")

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("sanitizer", ["thread", "none"])
def test_a_caller_sleeps_while_it_waits_for_a_slow_thread(sanitizer):
    """It would keep a thread of lower priority from its CPU."""
    result = run_program(sanitized("claims.c", sanitizer), "slow")

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("sanitizer", ["thread", "address"])
def test_many_sessions_of_two_models_share_a_pool(paths, sanitizer):
    result = run_program(sanitized("shared.c", sanitizer, PLACING), "crowd", *paths, 8)

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("sanitizer", ["thread", "address"])
@pytest.mark.parametrize("command", ["order", "cancel"])
def test_sessions_in_a_pool_are_closed_in_any_order_and_cancelled_nowhere(paths, command, sanitizer):
    result = run_program(sanitized("shared.c", sanitizer, PLACING), command, paths[1])

    assert (result.returncode, result.stderr) == (0, "")


def test_a_forked_child_has_no_threads_of_an_inherited_pool(paths):
    result = run_program(sanitized("shared.c", "none", PLACING), "fork", paths[1])

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("sanitizer", ["thread", "address"])
@pytest.mark.parametrize("command", ["options", "refuse"])
def test_a_pool_that_cannot_be_as_asked_is_refused(command, sanitizer):
    result = run_program(sanitized("shared.c", sanitizer, PLACING), command)

    assert (result.returncode, result.stderr) == (0, "")


def fact(task: str, label: str) -> str:
    """A line of what the kernel says about a thread of this process."""
    lines = (TASKS / task / "status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(label + ":"))


def niceness(task: str) -> int:
    return os.getpriority(os.PRIO_PROCESS, int(task))


def workers_of(**options) -> tuple[Pool, list[str]]:
    """A pool, and its threads but for the caller's."""
    before = set(os.listdir(TASKS))
    pool = Pool(**options)
    return pool, sorted(set(os.listdir(TASKS)) - before)


@pytest.mark.parametrize("cores", [ALLOWED[:1], ALLOWED[-1:], ALLOWED])
def test_threads_run_on_the_cores_that_are_named_and_the_caller_where_it_was(artifact, sample, cores):
    caller = str(threading.get_native_id())
    before = fact(caller, "Cpus_allowed_list"), niceness(caller)

    pool, workers = workers_of(threads=3, cores=cores, priority=7)

    with pool, Model(artifact, pool=pool) as model:
        assert (model.run(sample.inputs)["counts"] == sample.outputs["counts"]).all()
        assert [os.sched_getaffinity(int(worker)) for worker in workers] == [set(cores)] * 2
        assert [niceness(worker) for worker in workers] == [before[1] + 7] * 2
        assert (fact(caller, "Cpus_allowed_list"), niceness(caller)) == before


def test_threads_inherit_where_the_opener_may_run(artifact):
    def check():
        os.sched_setaffinity(0, ALLOWED[-1:])
        pool, workers = workers_of(threads=3)
        assert [os.sched_getaffinity(int(worker)) for worker in workers] == [set(ALLOWED[-1:])] * 2
        pool.close()

    assert in_child(check) == 0


def thread_ns(task: str) -> int:
    """CPU time of a thread: its clock, as the kernel numbers it."""
    return time.clock_gettime_ns(~int(task) << 3 | 6)


def cost_of_waiting_ns(artifact, sample, runs: int, **options) -> int:
    """What the workers of a pool use while a model runs now and then."""
    pool, workers = workers_of(threads=2, **options)
    with pool, Model(artifact, pool=pool) as model:
        model.run(sample.inputs)
        time.sleep(0.1)
        before = sum(map(thread_ns, workers))
        for _ in range(runs):
            model.run(sample.inputs)
            time.sleep(0.02)
        return sum(map(thread_ns, workers)) - before


def test_threads_that_do_not_spin_cost_nothing_between_runs(artifact, sample):
    assert cost_of_waiting_ns(artifact, sample, 20, spin_us=0) < 20 * 500_000


@pytest.mark.skipif(len(ALLOWED) < 2, reason="threads spin only where each has a CPU")
def test_threads_spin_as_long_as_they_are_told(artifact, sample):
    assert cost_of_waiting_ns(artifact, sample, 20, spin_us=10_000) > 20 * 1_000_000


def test_models_of_a_pool_run_from_many_threads(host, artifact, sample):
    sparse, failures = samples.sparse_model(host), []
    sources = [(artifact, sample), (serialize([sparse.program], {}), sparse)]

    def use(number: int) -> None:
        try:
            source, made = sources[number % 2]
            with Model(source, pool=pool) as model:
                for _ in range(50):
                    outputs = model.run(made.inputs)
                    assert all(abs(outputs[name] - array).max() < 1e-4 for name, array in made.outputs.items())
        except BaseException as err:
            failures.append(err)

    with Pool(threads=3) as pool:
        callers = [threading.Thread(target=use, args=(number,)) for number in range(6)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(PATIENCE_S)

    assert failures == []


def test_a_model_keeps_the_threads_of_a_closed_pool(artifact, sample):
    pool, workers = workers_of(threads=2)
    model = Model(artifact, pool=pool)
    pool.close()
    pool.close()

    assert (model.run(sample.inputs)["counts"] == sample.outputs["counts"]).all()
    with pytest.raises(EdgesparseRuntimeError, match="the pool is closed"):
        Model(artifact, pool=pool)
    assert set(workers) <= set(os.listdir(TASKS))
    model.close()
    deadline = time.monotonic() + PATIENCE_S
    while set(workers) & set(os.listdir(TASKS)) and time.monotonic() < deadline:
        time.sleep(0.001)  # the kernel forgets a thread a little after it has ended
    assert not set(workers) & set(os.listdir(TASKS))


def test_a_forked_child_opens_a_pool_of_its_own(artifact, sample):
    def check():
        with pytest.raises(EdgesparseRuntimeError, match="forked") as caught:
            Model(artifact, pool=pool)
        assert caught.value.status == "ES_ERR_FORKED"
        pool.close()
        with Pool(threads=2) as own, Model(artifact, pool=own) as model:
            assert (model.run(sample.inputs)["counts"] == sample.outputs["counts"]).all()

    with Pool(threads=2) as pool:
        assert in_child(check) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads: got 0, expected 1 to 64"),
        ({"threads": 65}, "threads: got 65, expected 1 to 64"),
        ({"threads": 2, "cores": []}, "cores: got [], expected numbers of CPUs, or None for any"),
        ({"threads": 2, "cores": 4}, "cores: got 4, expected numbers of CPUs, or None for any"),
        ({"threads": 2, "cores": "4-7"}, "cores: got '4-7', expected numbers of CPUs, or None for any"),
        ({"threads": 2, "cores": [-1]}, "cores: got -1, expected numbers of CPUs, or None for any"),
        ({"threads": 2, "cores": [1023]}, "core 1023 is not there, or this process may not use it"),
        ({"threads": 1, "cores": [0]}, "cores or a priority for 1 thread"),
        ({"threads": 2, "spin_us": 2_000_000}, "spins for 2000000 us, expected 0 to 1000000"),
        ({"threads": 2, "spin_us": 0.5}, "spin_us: got 0.5, expected a whole number from 0"),
        ({"threads": 2, "priority": -5}, "priority: got -5, expected a whole number from 0"),
        ({"threads": 2, "priority": 20}, "a priority of 20, expected 0 to 19"),
    ],
)
def test_wrong_option_is_refused(options, message):
    with pytest.raises(EdgesparseRuntimeError) as caught:
        Pool(**options)

    assert (message in str(caught.value), caught.value.status) == (True, "ES_ERR_ARGUMENT"), caught.value


def test_threads_beside_a_pool_are_refused(artifact):
    with Pool(threads=2) as pool, pytest.raises(EdgesparseRuntimeError, match="got 3 beside a pool, which has its own"):
        Model(artifact, threads=3, pool=pool)
