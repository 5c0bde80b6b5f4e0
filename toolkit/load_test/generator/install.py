"""Install the load generator into locust: one module registers a listener for each of locust's events.

``install`` is called by the module of ``SmsCodeUser``, so a locustfile that imports it needs no call of its own. A
``Plugin`` belongs to one locust process. It creates the ``LoadContext`` of a test when the test starts, and drops it
when the test stops; the results of the test stay until the next one starts, for locust's page and the exit code.

    init            read the options; start to watch workers, the parent process and locust's page
    test_start      new results; new context, which checks the target and the settings
    a user starts   takes the context, or ends the run with the reason for the refusal
    test_stop       drop the context
    quitting        judge thresholds and checks, choose the exit code
    quit            close the records
"""

from __future__ import annotations

import gc
import json
import logging
import math
import os
import socket
from argparse import Namespace
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, STATE_STOPPED, LocalRunner, MasterRunner, WorkerRunner

from toolkit import number_format
from toolkit.api.errors import InputError, ToolkitError
from toolkit.load_test.generator.checks import collector
from toolkit.load_test.generator.checks.collector import CheckCollector
from toolkit.load_test.generator.checks.registry import CODES_JUDGED, JOURNEY, THROUGHPUT, CheckResult
from toolkit.load_test.generator.journeys.simultaneous_verify import BARRIER_MESSAGE, Barrier
from toolkit.load_test.generator.locust_plugin import message_cap, shutdown, web_ui, worker_takeover
from toolkit.load_test.generator.locust_plugin.context import (
    LoadContext,
    check_host,
    drift_ratio,
    permitted_target,
    read_options,
)
from toolkit.load_test.generator.locust_plugin.locust_stats import show_three_digits
from toolkit.load_test.generator.locust_plugin.message_cap import MessageBudget
from toolkit.load_test.generator.locust_plugin.metrics_server import serve_metrics
from toolkit.load_test.generator.locust_plugin.shutdown import Shutdown
from toolkit.load_test.generator.locust_plugin.threshold_monitor import BOTTLENECK_MESSAGE, ThresholdMonitor
from toolkit.load_test.generator.results.bottleneck import join_reports
from toolkit.load_test.generator.results.metrics import Metrics
from toolkit.load_test.generator.results.prometheus import LoadState, render
from toolkit.load_test.generator.results.recorder import Recorder
from toolkit.load_test.generator.results.telemetry import Telemetry
from toolkit.load_test.generator.utc_clock import UTC_CLOCK
from toolkit.load_test.plan.options import LoadOptions, add_arguments, declared, from_parsed_options, unused_option
from toolkit.load_test.plan.otel_settings import OtelSettings, check_installed
from toolkit.records.call_record import parse_expected
from toolkit.runs import run_folder
from toolkit.runs.exit_codes import ExitCode, worst
from toolkit.runs.remote_storage import add_suffix, is_url
from toolkit.settings import load_price

_ATTRIBUTE = "sms_code_plugin"  # of the environment: locust hands nothing else to its users
_METRICS_KEY, _CHECKS_KEY, _MEASURED_KEY = "smscode_statistics", "smscode_evidence", "smscode_measured"
_BOTTLENECK_KEY, _LAST_KEY = "smscode_bottleneck", "smscode_last"
_GC_THRESHOLDS = (50_000, 20, 50)
_RUNNING = (STATE_SPAWNING, STATE_RUNNING)

logger = logging.getLogger(__name__)


def install() -> None:
    """Register the listeners with locust. Further calls do nothing."""
    hooks: Any = events
    if _set_up not in hooks.init._handlers:
        hooks.init_command_line_parser.add_listener(add_arguments)
        hooks.init_command_line_parser.add_listener(worker_takeover.set_defaults)
        hooks.init.add_listener(_set_up)


def plugin_of(environment: Environment) -> Plugin:
    """Return the plugin of a locust process; it is set up if locust's init event was never fired."""
    plugin: Plugin | None = getattr(environment, _ATTRIBUTE, None)
    return plugin or Plugin(environment)


def _set_up(environment: Environment, **_: object) -> None:
    """Set the process up. Invalid options end it with one line, before anything is sent."""
    show_three_digits()
    try:
        plugin_of(environment).check_options()
    except ToolkitError as error:
        raise SystemExit(str(error)) from error
    gevent.get_hub().loop.update_now()  # locust's time limit counts from now, not from before the imports


def check_load(options: LoadOptions, environment: Environment) -> LoadOptions:
    """Return the options; raise InputError if one can't be used or has no effect on this locustfile."""
    options.message_cap(load_price())
    options.check_data()
    if options.limits and not any(getattr(it, "check", None) is THROUGHPUT for it in environment.user_classes):
        raise InputError(unused_option("limits"))
    journeys = [getattr(task, "journey", None) for it in environment.user_classes for task in it.tasks]
    if options.recording and not any(getattr(journey, "plays_recording", False) for journey in journeys):
        raise InputError(unused_option("recording"))
    return options


def expected_outcomes(environment: Environment, options: LoadOptions) -> frozenset[int | str]:
    """Return the kinds and return codes that are not failures: those of the options and of the user classes.

    Raises InputError if a user class expects another kind or something else.
    """
    own = [it for user_class in environment.user_classes for it in getattr(user_class, "expected", ())]
    return parse_expected([*options.expected, *own])


def normalize(host: str | None) -> str:
    """Return a host without a trailing slash, to compare it with another."""
    return (host or "").rstrip("/")


class Results:
    """The results of one test: a process's own, or on a master those of all workers.

    Attributes:
        bottlenecks: how each worker held the test back, in its last report, "" if it didn't; only on a master.
        unfinished: the workers whose last report has not arrived; that of a lost worker never does.
    """

    def __init__(self, environment: Environment, shutdown: Shutdown) -> None:
        options = read_options(environment)
        expectations = options.expectations(drift_ratio(environment.host))
        checks = [getattr(user_class, "check", None) for user_class in environment.user_classes]
        self.expected = expected_outcomes(environment, options)
        # Magic mobiles get the same verdict whatever is typed; and JOURNEY compares every response, these too.
        if not options.mobiles.startswith("magic:") and JOURNEY not in checks:
            checks.append(CODES_JUDGED)
        self.metrics, self.checks = Metrics(self.expected), CheckCollector(checks, expectations)
        # Thresholds count only the calls that were due after the warm-up.
        self.measured = Metrics(self.expected) if options.warm_up_s else self.metrics
        self.warm_up_s = options.warm_up_s
        self.bottlenecks: dict[str, str] = {}
        self.unfinished: set[str] = set()
        self._finished: set[str] = set()
        is_worker = isinstance(environment.runner, WorkerRunner)
        held = () if is_worker else options.parsed_thresholds()
        decides = bool(options.thresholds or self.checks.names)
        self.monitor = ThresholdMonitor(
            environment, shutdown, self.measured, held, options.run_time_s, self.warm_up_s, decides=decides
        )

    def pack(self, bottleneck: str, *, is_last: bool) -> dict[str, Any]:
        """Return the results as a worker reports them to its master; the last time when its calls have ended."""
        packed = {_METRICS_KEY: self.metrics.pack(), _CHECKS_KEY: self.checks.take(), _BOTTLENECK_KEY: bottleneck}
        return packed | {_LAST_KEY: is_last} | ({_MEASURED_KEY: self.measured.pack()} if self.warm_up_s else {})

    def merge(self, worker: str, data: dict[str, Any]) -> None:
        """Add the results of a worker's report."""
        self.metrics.merge(worker, data[_METRICS_KEY])
        if self.warm_up_s:
            self.measured.merge(worker, data[_MEASURED_KEY])
        self.checks.merge(data.get(_CHECKS_KEY, {}))
        self.bottlenecks[worker] = data[_BOTTLENECK_KEY]
        if data[_LAST_KEY]:
            self._finished.add(worker)
            self.unfinished.discard(worker)
        else:
            self.unfinished.add(worker)
        self.monitor.on_report(worker)

    def lose(self, worker: str) -> None:
        """Note that a worker is gone: its last report never comes, unless it has come before."""
        self.unfinished |= self.without_last_report([worker])

    def without_last_report(self, workers: Iterable[str]) -> set[str]:
        """Return those of some workers whose last report has not come."""
        return set(workers) - self._finished


class Plugin:
    """Connects one locust process to the load generator, from its start to its end.

    Attributes:
        options: locust's parsed options, which its page and a master change.
        results: the results of the test that is running, or was last; None before the first.
        context: the context of the test that is running.
    """

    def __init__(self, environment: Environment) -> None:
        setattr(environment, _ATTRIBUTE, self)
        if environment.parsed_options is None:  # locust is used as a library
            environment.parsed_options = get_parser(default_config_files=[]).parse_args([])
        self.options: Any = environment.parsed_options
        self.environment = environment
        self.shutdown = Shutdown(environment)
        self.results: Results | None = None
        self.context: LoadContext | None = None
        self._budget: MessageBudget | None = None
        self._recorder: Recorder | None = None  # of the last test; closing it may take long
        self._telemetry: Telemetry | None = None  # of all tests of this process
        self._metrics_greenlet: gevent.Greenlet | None = None
        self._test, self._test_host = 0, ""
        self._has_ended = False  # the test; before it has a context, there may be reports that are not the last
        self._run_dir = getattr(self.options, "sms_run_dir", None)
        self._permissions = {name: getattr(self.options, name, None) for name in ("allow_target", "i_pay_for_this")}
        self._listen()
        self._start_watches()
        port = None if isinstance(environment.runner, WorkerRunner) else read_options(environment).metrics_port
        if port is not None:
            serve_metrics(read_options(environment).metrics_host, port, lambda accept: render(self.state(), accept))
        if getattr(self.options, "sms_otel", False):
            self._start_telemetry().await_ready()

    def open_context(self) -> LoadContext:
        """Return the context of the test that is running; raise ToolkitError if its settings or target are refused."""
        if self.results is None:
            self._begin_test()
        if self.context is None:
            assert self.results
            self.context = LoadContext(
                self.environment,
                self.results.metrics,
                self.results.measured,
                self.results.checks,
                self.shutdown,
                self._test,
                self._telemetry,
            )
            self._recorder = self.context.recorder
            gc.freeze()  # calls come and go by the thousand: look for garbage among new objects, and less often
            gc.set_threshold(*_GC_THRESHOLDS)
        if normalize(self.environment.host) != self._test_host:
            host = self.environment.host
            raise InputError(f"the test loads {self._test_host}, not {host}: stop it before you change the host")
        return self.context

    def state(self) -> LoadState | None:
        """Return the figures of the test that is running, or was last; None before the first."""
        results, runner = self.results, self.environment.runner
        if results is None:
            return None
        monitor, workers = results.monitor, 1
        budget = self._budget.messages if self._budget else None
        bottleneck: str | None = monitor.bottleneck or self._own_bottleneck()
        lost = set[str]()
        if isinstance(runner, MasterRunner):
            nodes = runner.clients
            connected = {it.id for it in (*nodes.ready, *nodes.spawning, *nodes.running)}
            workers, lost = len(connected), results.unfinished - connected
            lost |= results.without_last_report(it.id for it in nodes.missing)  # they are not counted as lost yet
            bottleneck = bottleneck or join_reports(results.bottlenecks, connected, has_ended=monitor.has_stopped)
        verdicts = monitor.verdicts(is_whole=not lost)
        state = LoadState.of(results.metrics, budget, verdicts, workers, bottleneck)
        return replace(state, is_running=not monitor.has_stopped)

    def check_options(self) -> None:
        """Choose the number of users of an open loop; raise InputError if an option is invalid.

        The host is checked too, unless it may still come from a web page or a master.
        """
        environment, options = self.environment, self.options
        if isinstance(environment.runner, WorkerRunner):
            return
        if options.rate is None and options.num_users is None and not options.stages:
            stages = [getattr(user_class, "stages", None) for user_class in environment.user_classes]
            options.stages = next(filter(None, stages), None)
        load = check_load(read_options(environment), environment)
        expected_outcomes(environment, load)
        if (schedule := load.schedule()) is not None:
            if options.num_users is not None:
                raise InputError("--users and --rate exclude one another: either users or arrivals set the pace")
            options.num_users = options.spawn_rate = max(1, options.expect_workers)
            if options.run_time is None and math.isfinite(schedule.duration_s):
                options.run_time = math.ceil(schedule.duration_s) + 1
        if isinstance(environment.runner, LocalRunner) and options.headless:
            permitted_target(environment.host, load)

    def refusal(self, form: Mapping[str, list[str]]) -> str | None:
        """Return the reason why locust's page may not start a test with these fields, or None if it may."""
        environment, options = self.environment, vars(self.options)
        host = form.get("host", [""])[0] or environment.host
        hidden = {option.destination for option in declared().values() if option.argument and not option.on_page}
        if given := sorted(hidden & form.keys()):
            return f"--{given[0].replace('_', '-')} can only be given on the command line"
        runner = environment.runner
        if runner and runner.state in _RUNNING and normalize(host) != self._test_host:
            return f"the test loads {self._test_host}: stop it before you change the host"
        # Locust splits the text of a repeatable option at commas.
        fields = {
            name: ",".join(it).split(",") if isinstance(options.get(name), list) else it[0] for name, it in form.items()
        }
        try:
            wanted = from_parsed_options(Namespace(**{**options, **self._permissions, **fields}))
            load = check_load(wanted, environment)
            if isinstance(runner, LocalRunner):
                permitted_target(host, load)
            elif host:
                check_host(host, load)
        except ToolkitError as error:
            return str(error)
        return None

    # Locust's events.

    def _listen(self) -> None:
        environment = self.environment
        hooks: Any = environment.events
        hooks.test_start.add_listener(lambda **_: self._begin_test())
        hooks.test_stopping.add_listener(lambda **_: self._stop_sending())
        hooks.test_stop.add_listener(lambda **_: self._end_test())
        hooks.quitting.add_listener(lambda **_: self._conclude())
        hooks.quit.add_listener(lambda **_: self._close_records())
        runner = environment.runner
        if runner is None:
            return

        def receive(message: str, receiver: Callable[[], Any]) -> None:
            """Pass a message on to its receiver in the running test, if there is one."""

            def on_message(msg: Any, **_: object) -> None:
                if (receive_one := receiver()) is not None:
                    receive_one(msg)

            runner.register_message(message, on_message)

        if isinstance(runner, WorkerRunner):
            hooks.report_to_master.add_listener(self._report)
        else:
            hooks.worker_report.add_listener(self._on_report)
            receive(shutdown.END_MESSAGE, lambda: self.shutdown.on_end_message)
            receive(shutdown.NOTE_MESSAGE, lambda: self.shutdown.on_note_message)
            receive(message_cap.ASK_MESSAGE, lambda: self._budget and self._budget.on_ask)
            receive(message_cap.SPENT_MESSAGE, lambda: self._budget and self._budget.on_spent)
            receive(BOTTLENECK_MESSAGE, lambda: self.results and self.results.monitor.on_bottleneck)
        if isinstance(runner, MasterRunner):
            receive(BARRIER_MESSAGE, lambda: lambda msg: runner.send_message(BARRIER_MESSAGE, msg.data))
        else:
            receive(BARRIER_MESSAGE, lambda: self.context and self.context.shared(Barrier).on_message)
            receive(
                message_cap.GRANT_MESSAGE, lambda: self.context and self.context.quota and self.context.quota.on_grant
            )

    def _report(self, data: dict[str, Any], **_: object) -> None:
        if self.results:
            data.update(self.results.pack(self._own_bottleneck(), is_last=self._has_ended))

    def _own_bottleneck(self) -> str:
        return (self.context and self.context.bottleneck.bottleneck()) or ""

    def _on_report(self, client_id: str, data: dict[str, Any], **_: object) -> None:
        if self.results and _METRICS_KEY in data:
            self.results.merge(client_id, data)
        if self._budget:
            self._budget.end_when_spent()  # a worker may have been lost

    def _on_lost(self, worker: str) -> None:
        if self.results:
            self.results.lose(worker)

    def _start_watches(self) -> None:
        environment, options = self.environment, self.options
        if isinstance(environment.runner, MasterRunner):
            worker_takeover.watch_workers(environment, self.shutdown, self._on_lost)
        elif isinstance(environment.runner, WorkerRunner):
            worker_takeover.end_with_master(environment, self.shutdown, is_forked=bool(options and options.processes))
        if (lifeline_fd := getattr(options, "sms_lifeline_fd", None)) is not None:
            worker_takeover.end_with_parent(environment, self.shutdown, lifeline_fd)
        elif getattr(options, "headless", False) and not isinstance(environment.runner, WorkerRunner):
            worker_takeover.end_without_parent(self.shutdown)
        if environment.web_ui is not None:
            web_ui.add_tab(environment, lambda: self.results.metrics if self.results else Metrics())
            web_ui.refuse_tests(environment, self.refusal)

    def _begin_test(self) -> None:
        """Start a test: number it, drop everything of the last one, and make new results and a new context."""
        environment, runner = self.environment, self.environment.runner
        options = self.options
        self._close_records()
        UTC_CLOCK.set()
        self.context, self.results, self._budget, self._has_ended = None, None, None, False
        self._test_host = normalize(environment.host)
        if not isinstance(runner, WorkerRunner):
            self._test += 1
            # Locust sends these options to the workers, with the first users.
            options.sms_test, options.sms_began_s, options.sms_lost_s = self._test, UTC_CLOCK.now_ns() / 1e9, None
            options.sms_shards = max(1, runner.target_user_count) if runner else 1
            vars(options).update(self._permissions)
        else:
            self._test = options.sms_test
        if self._run_dir:  # a worker that has a folder of its own records there, not in the master's
            options.sms_run_dir = self._run_dir if self._test == 1 else add_suffix(self._run_dir, f"-{self._test}")
        self.results = Results(environment, self.shutdown)
        if not isinstance(runner, WorkerRunner):
            self._write_expected(self.results.expected)
            self._write_checks(self.results.checks.judge())
        if isinstance(runner, WorkerRunner):
            here = [os.getpid(), os.getppid(), socket.gethostname()]
            runner.send_message(worker_takeover.PROCESS_MESSAGE, here)  # type: ignore[arg-type] # any value can be sent
        else:
            messages = read_options(environment).message_cap(load_price())
            if messages is not None:
                self._budget = MessageBudget(environment, self.shutdown, messages, self._test)
        if (
            getattr(options, "sms_otel", False) and self._telemetry is None
        ):  # a worker that has its options from the master
            try:
                self._start_telemetry()
            except ToolkitError as error:
                note = f"OpenTelemetry: the calls of {socket.gethostname()} are not traced: {error}"
                logger.warning(note)
                self.shutdown.note(run_folder.NOTES_NAME, note)
        if not isinstance(runner, MasterRunner):
            try:
                self.open_context()
            except ToolkitError:
                self.context = None  # the first user ends the run, with the reason

    def _start_telemetry(self) -> Telemetry:
        """Start the exporter, and the export of metrics unless a master has those of all workers.

        Raises InputError if the extra is missing or a variable can't be used.
        """
        check_installed()
        settings = OtelSettings.of(os.environ)
        telemetry = self._telemetry = Telemetry(settings.close_s)
        if settings.has_metrics and not isinstance(self.environment.runner, WorkerRunner):

            def export_often() -> None:
                while True:
                    gevent.sleep(settings.interval_s)
                    self._export_metrics()

            self._metrics_greenlet = gevent.spawn(export_often)
        return telemetry

    def _export_metrics(self) -> None:
        if self._telemetry and (state := self.state()) is not None:
            self._telemetry.export_metrics(state, self.options.sms_began_s)

    def _close_telemetry(self) -> None:
        """Export the last spans and metrics, and note losses."""
        if self._telemetry is None:
            return
        if self._metrics_greenlet is not None:
            self._metrics_greenlet.kill()
            self._export_metrics()
        if note := self._telemetry.close():
            logger.warning(note)
            self.shutdown.note(run_folder.NOTES_NAME, note)
        self._telemetry = None

    def _stop_sending(self) -> None:
        if self.results:
            self.results.monitor.stop_sending()

    def _write_expected(self, expected: Collection[int | str]) -> None:
        """Write the expected outcomes to the run's folder, so that a report made later counts the same failures."""
        folder = self.options.sms_run_dir
        if folder and not is_url(folder):
            self._write(Path(folder) / run_folder.EXPECTED_NAME, json.dumps(sorted(map(str, expected))))

    def _write_checks(self, outcomes: Sequence[CheckResult]) -> None:
        """Write the results of the checks to the run's folder: at first, that there is no data yet."""
        folder = self.options.sms_run_dir
        if outcomes and folder and not is_url(folder):
            self._write(Path(folder) / run_folder.CHECKS_NAME, json.dumps([it.as_json() for it in outcomes], indent=2))

    def _write(self, path: Path, text: str) -> None:
        """Write a file of the run's folder. If that fails, the exit code of the run is not one of a verdict."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            logger.error("%s can't be written: %s", path, error.strerror)
            self.shutdown.lacks_file = True

    def _end_test(self) -> None:
        """Drop the context of the test. Its results stay: the last reports of workers are still to come."""
        self._has_ended = True
        if self.context:
            self.context.close()
            self.context = None
        if self.results:
            self.results.monitor.stop()
        runner, options = self.environment.runner, self.options
        if isinstance(runner, MasterRunner) and options and options.headless:
            worker_takeover.await_last_reports(runner, self.environment.stop_timeout)

    def _conclude(self) -> None:
        """Judge the last test and choose the exit code."""
        environment, runner, results = self.environment, self.environment.runner, self.results
        if runner is None:
            return
        if self.context:
            self.context.report_bottleneck()
        if isinstance(runner, WorkerRunner):
            runner._send_stats()  # locust sends a last report only if the master has asked the worker to quit
        elif results:
            try:
                self._judge(results)
            except Exception:
                environment.process_exit_code = ExitCode.DEFECT  # locust only logs an exception of a listener
                raise
        self._close_telemetry()  # after the last report, which a collector that doesn't answer must not delay
        # A task raised, which locust only logs; or the parent process must not trust the run's folder.
        if runner.exceptions or self.shutdown.lacks_file:
            environment.process_exit_code = worst([environment.process_exit_code, ExitCode.USAGE])

    def _judge(self, results: Results) -> None:
        runner = self.environment.runner
        assert runner
        if runner.state != STATE_STOPPED:
            runner.quit()  # users finish their calls, and workers report them
        lost = ""
        if results.unfinished:
            workers = number_format.plural(len(results.unfinished), "worker")
            lost = f"{workers} ended without a report on the last calls"
            logger.error("%s: no threshold passes", lost)
        results.monitor.conclude(is_whole=not lost)
        if outcomes := results.checks.judge(lost):
            if results.monitor.bottleneck:
                outcomes = [it.without_pass("the load generator was the bottleneck") for it in outcomes]
            for outcome in outcomes:
                print(collector.describe(outcome))
            self._write_checks(outcomes)
            results.monitor.conclude_with(it.status for it in outcomes)

    def _close_records(self) -> None:
        if self._recorder:
            self._recorder.close()
            self._recorder = None
