"""The running Filebeat: read, process, ship, remember."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator

from . import STAND_IN, VERSION, event, processors, sources
from .event import Event
from .options import Flat
from .output import Elasticsearch, OutputError, log
from .processors import Processor
from .registry import Registry
from .settings import Input, Settings
from .sources import Read, Source

_PAUSE = 0.5


class Pipeline:
    """One input with all that is done to its events."""

    def __init__(self, entry: Input, settings: Settings, agent: Event) -> None:
        self._entry, self._top, self._agent = entry, settings.top, agent
        chain = [*entry.processors, *settings.processors]
        self._processors: list[Processor] = [processors.build(name, options) for name, options in chain]

    def process(self, read: Read) -> Event | None:
        """The event of what was read; None when a processor dropped it."""
        one: Event = {"@timestamp": event.now(), "input": {"type": self._entry.kind}}
        event.merge(one, read.origin, overwrite=True)
        event.merge(one, {"agent": dict(self._agent), "ecs": {"version": "8.0.0"}}, overwrite=True)
        if not self._entry.options.get("publisher_pipeline.disable_host"):
            event.merge(one, {"host": {"name": self._agent["name"]}}, overwrite=True)
        event.merge(one, read.message.fields, overwrite=True)
        if read.message.text:
            one["message"] = read.message.text
        for options in (self._top, self._entry.options):
            self._decorate(one, options)
        for process in self._processors:
            kept = process(one)
            if kept is None:
                return None
            one = kept
        meta = {key: self._entry.options[key] for key in ("index", "pipeline") if key in self._entry.options}
        if meta:
            one["@metadata"] = meta
        return one

    @staticmethod
    def _decorate(one: Event, options: Flat) -> None:
        if options.get("tags"):
            one["tags"] = [*one.get("tags", []), *options["tags"]]
        if options.get("fields"):
            own = options["fields"]
            placed = own if options.get("fields_under_root") else {"fields": own}
            event.merge(one, placed, overwrite=True)


class Shipper:
    """Everything that the settings name, until it is told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._output = Elasticsearch(settings.output)
        self._registry = Registry.of(settings)
        agent = {
            "ephemeral_id": str(uuid.uuid4()),
            "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, socket.gethostname())),
            "name": settings.top.get("name", socket.gethostname()),
            "type": "filebeat",
            "version": VERSION,
        }
        self._inputs: list[tuple[Source, Pipeline]] = [
            (sources.build(entry, self._registry), Pipeline(entry, settings, agent)) for entry in settings.inputs
        ]
        self._size = settings.output.get("bulk_max_size", 1600)

    def run(self, stop: threading.Event) -> None:
        """Ship until *stop* is set."""
        log("info", f"this is {STAND_IN}; it starts with {len(self._inputs)} inputs")
        self._set_up(stop)
        try:
            while not stop.is_set():
                for batch in self._batches():
                    self._ship(batch, stop)
                stop.wait(_PAUSE)
        except OutputError:
            log("info", "stopped; what was not taken is read again at the next start")
        finally:
            for source, _ in self._inputs:
                source.close()
            self._output.close()

    def _set_up(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                where = self._output.connect()
                self._output.set_up(self._settings.top)
            except (OSError, OutputError, ValueError, KeyError) as error:
                log("error", f"Failed to connect to Elasticsearch: {error}")
                self._output.close()
                stop.wait(self._settings.output.get("backoff.init", 1.0))
            else:
                log("info", f"connected to {where}")
                return

    def _batches(self) -> Iterator[list[tuple[Event | None, Read]]]:
        batch: list[tuple[Event | None, Read]] = []
        for source, pipeline in self._inputs:
            for read in source.read():
                batch.append((pipeline.process(read), read))
                if len(batch) >= self._size:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def _ship(self, batch: list[tuple[Event | None, Read]], stop: threading.Event) -> None:
        events = [one for one, _ in batch if one is not None]
        for problem in self._output.publish(events, stop):
            log("warn", f"Cannot index event, dropping it: {problem}")
        self._registry.save({read.key: read.state for _, read in batch})
