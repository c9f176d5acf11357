"""`python -m portico.supervisor`: the command line, and the process around one supervisor.

What takes long to import is imported where it is used: the zygote is started before.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from portico import __version__
from portico.exceptions import ConfigurationError, PorticoError
from portico.supervisor import privileges, titles
from portico.supervisor.config import SupervisorConfig, configure
from portico.supervisor.sandbox import enclosure
from portico.supervisor.settings import SETTINGS
from portico.supervisor.spawning import SpawnError, Zygote, start_zygote, variables_kept
from portico.supervisor.tampering import CODE_IS_WRITABLE, exposed
from portico.utils import import_path

_EPILOG = """
Every option can also be given as PORTICO_<OPTION> in the environment, or in portico.toml or
[tool.portico] of pyproject.toml; the option itself wins, then the environment, then the file.

\b
Signals     TERM, INT  drain: finish what runs, settle, exit; a second one stops at once
            QUIT       kill the workers, release nothing
            HUP        load the application anew, replace the workers one by one
            TTIN, TTOU one worker more, one less
            USR1       log the state and all stacks
Exit codes  0 drained   1 configuration   2 usage   3 workers keep dying at start
            4 the app's own code fails at start   5 store unreachable at start, replaced
            or damaged later   70 internal error   75 something could not be settled   131 quit
"""

_HEEDED = {
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU,
}  # fmt: skip
"""The loop takes what heeds them along when it closes. From then on one more of them would end, or
stop, this process before it has said with which code it ends."""


def main(arguments: Sequence[str] | None = None, prog_name: str = "portico supervisor") -> NoReturn:
    """Run a supervisor with these command-line arguments, and exit."""
    import_path.leave_working_directory()
    titles.show("portico supervisor")  # at once: the arguments may hold a password
    _heed_early_signals()
    _open_standard_descriptors()
    command(args=None if arguments is None else list(arguments), prog_name=prog_name)
    sys.exit(0)


def supervise(**flags: str | None) -> NoReturn:
    """Run jobs from a queue in a pool of worker processes."""
    try:
        config = configure(flags)
        privileges.assume(config)
        enclosure.demand(config.limits)
        if config.limits.sandbox:
            enclosure.conceal()
        sys.exit(check(config) if config.check else run(config))
    except ConfigurationError as error:
        _complain(f"portico: {error}")
        sys.exit(1)


def run(config: SupervisorConfig) -> int:
    """Run a supervisor to its end, and return its exit code."""
    from portico.supervisor.pid_file import pid_file

    with pid_file(config.pid_file):
        return _run(config, _early_zygote(config))


def _early_zygote(config: SupervisorConfig) -> Zygote | None:
    """Have the application loaded while this process loads its own modules; if that cannot be, it
    is tried again when workers are started, and what is wrong is told then."""
    if config.start_method == "spawn":
        return None
    try:
        return start_zygote(config.app, config.limits, config.pass_env)
    except (SpawnError, OSError):
        return None


def _run(config: SupervisorConfig, early: Zygote | None) -> int:
    from portico.supervisor import lean

    lean.begin()

    import asyncio

    import uvloop

    from portico.supervisor.supervisor import Supervisor, exit_code_of
    from portico.utils.logging import configure_logging, get_logger

    configure_logging(config.log_level, config.log_format, "stderr", log_errors=config.log_errors)
    logger = get_logger(__name__)

    if privileges.is_root() and not config.allow_root:
        logger.warning("running_as_root", note=privileges.RUNNING_AS_ROOT)
    if names := variables_kept(config.pass_env):
        logger.info("variables_kept", names=",".join(names), note="workers have them by --pass-env")

    if places := exposed(config.limits.write):
        tell = logger.warning if config.production else logger.info
        tell("code_is_writable", places=",".join(places), note=CODE_IS_WRITABLE)
    _tell_of_the_sandbox(config, logger)

    async def supervised() -> int:
        try:
            return await Supervisor(config, early).run()
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(supervised())
    except PorticoError as error:
        _complain(error.details.get("traceback", ""), nl=False)
        logger.critical("supervisor_failed", error=str(error), exit_code=exit_code_of(error))
        return exit_code_of(error)
    except Exception as error:
        logger.critical("supervisor_failed", exc_info=error, exit_code=exit_code_of(error))
        return exit_code_of(error)


def _tell_of_the_sandbox(config: SupervisorConfig, logger: Any) -> None:
    from portico.supervisor.sandbox import offer

    if lacking := offer.lacking(config.limits):
        logger.info(
            "sandbox_partly", lacks="; ".join(lacking), note="see README, Rights and limits"
        )
    if files := offer.open_stores(config):
        logger.warning("store_is_writable", files=",".join(files), note=offer.STORE_IS_WRITABLE)


def check(config: SupervisorConfig) -> int:
    """Validate the application and the store, start nothing, and return the exit code."""
    import asyncio

    from portico.supervisor.checking import findings

    async def checked() -> int:
        code = 0
        async for finding in findings(config):
            _say(finding.text, err=finding.code != 0)
            code = code or finding.code
        return code

    return asyncio.run(checked())


def _complain(text: str, *, nl: bool = True) -> None:
    _say(text, nl=nl, err=True)


def _say(text: str, *, nl: bool = True, err: bool) -> None:
    """Write without passwords, and without what a terminal would obey."""
    from portico.utils.log_lines import escaped, masked_urls

    lines = "\n".join(map(escaped, masked_urls(text).split("\n")))
    click.echo(lines, err=err, nl=nl)


def _heed_early_signals() -> None:
    """Until there is a supervisor to heed them: there is nothing to drain, reload, resize or dump.

    The default for the latter would be to end this process, or to stop it.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, lambda *_: None)  # not ignored: that would be inherited


def _open_standard_descriptors() -> None:
    """Started with 0, 1 or 2 closed, the next file opened would become stdin, stdout or stderr."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004
        os.set_inheritable(fd, True)
    os.close(fd)


def _options() -> list[click.Parameter]:
    options: list[click.Parameter] = []
    for setting in SETTINGS:
        kind: dict[str, Any] = (
            {"is_flag": True, "flag_value": "true"}
            if setting.takes_no_value
            else {"metavar": setting.metavar}
        )
        options.append(
            click.Option([*setting.flags, setting.name], default=None, help=setting.help, **kind)
        )
    return options


command = click.version_option(__version__, prog_name="portico")(
    click.Command(
        "supervisor",
        params=_options(),
        callback=supervise,
        help=supervise.__doc__,
        epilog=_EPILOG,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
)
