"""An application that prints in every way there is, also when it is imported."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading

from portico.ports.job import Job, JobResult
from portico.ports.job_handler import JobHandler

print("printed at import")
sys.stderr.write("no newline at import")
logging.basicConfig(level=logging.INFO, format="MINE %(message)s", force=True)
logging.getLogger("acme").info("logged at import")


class Prints(JobHandler):
    job_type = "test.print"

    async def handle(self, job: Job) -> JobResult:
        said = getattr(self, f"_{job.payload['how']}")(job.payload.get("text", ""))
        if said is not None:
            await said
        if job.payload.get("fails"):
            raise ValueError("bad row")
        return JobResult(success=True)

    def _prints(self, text: str) -> None:
        print(text)

    def _partly(self, text: str) -> None:
        sys.stdout.write(f"out {text}")
        sys.stderr.write(f"err {text}")

    def _bytes(self, text: str) -> None:
        sys.stdout.buffer.write(text.encode())

    def _bare(self, text: str) -> None:
        os.write(1, f"{text}\n".encode())
        threading.Event().wait(0.001)  # as whatever writes so takes

    def _program(self, text: str) -> None:
        subprocess.run([sys.executable, "-c", f"print({text!r})"], check=True)

    def _thread(self, text: str) -> None:
        thread = threading.Thread(target=print, args=(text,))
        thread.start()
        thread.join()

    async def _in_turns(self, text: str) -> None:
        for n in range(3):
            sys.stdout.write(f"{text}{n} ")
            sys.stdout.flush()
            await asyncio.sleep(0.01)
        print("done")

    async def _beside(self, text: str) -> None:
        sys.stdout.write(f"{text} begins ")
        asked.set()
        await said.wait()
        print("and ends")

    def _bar(self, text: str) -> None:
        for n in range(5):
            sys.stderr.write(f"\r{text} {n * 25}%")
            sys.stderr.flush()

    def _logs(self, text: str) -> None:
        logging.getLogger("acme").info("logged %s", text)

    def _logs_wrongly(self, text: str) -> None:
        logging.getLogger("acme").error("import of %s failed: %s", text)  # noqa: PLE1206


app = [Prints()]
asked, said = asyncio.Event(), asyncio.Event()
tasks: set[asyncio.Task[None]] = set()


async def say_when_asked() -> None:
    await asked.wait()
    print("by the application's own task")
    said.set()


def opened() -> list[JobHandler]:
    """Leave a line without an end, which Python has not even written yet, and a task."""
    sys.stdout.write("opened")
    task = asyncio.get_running_loop().create_task(say_when_asked())
    task.add_done_callback(tasks.discard)
    tasks.add(task)
    return app
