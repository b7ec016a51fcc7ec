"""The Faust application: stages as agents, resuming from snapshots, watched.

make_app(settings)                      all stages
make_app(settings, ["admit"])           one of them
faust -A streams.app worker             the same from Faust's own command line (`app`, from the settings)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir
from typing import Any, cast

import faust
from aiokafka.errors import IllegalStateError
from faust.exceptions import ConsumerNotStarted
from faust.tables.manager import TableManager
from faust.types import TP

from pearlstream.broker import admin_client, ensure_topics, partitions_of, topic_ids
from pearlstream.errors import EXIT_TRY_AGAIN, PearlstreamError, ServiceError, SettingsError
from pearlstream.fold import Fold
from pearlstream.logs import configure, dict_config, flush, get_logger
from pearlstream.registry import RegistryBook
from pearlstream.runner import Limits
from pearlstream.settings import Kafka, Settings, load_settings
from pearlstream.topics import ROLES, topic_name
from streams.consumer import Consumer, Transport
from streams.health import HealthPage
from streams.registry import RegistryReader
from streams.stage import Stage
from streams.watchdog import Watchdog

log = get_logger(__name__)

STAGES = ("admit", "indicate", "cluster", "alert")
"""The stages, in the order of the data."""
SESSION_TIMEOUT_S = 6.0
"""A killed worker's partitions stay with it for this long; Kafka allows no less."""
LARGEST_MESSAGE = 8 << 20
FETCH_BYTES = 1 << 20
"""Bytes fetched at once of each partition; a larger message comes alone."""
TOPIC_ID_EVERY_S = 30.0
PATIENCE_S = 5.0
"""How long a broker may take to answer a worker that starts; then it is asked anew."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 15.0
"""How long a starting worker waits before it asks again."""
NUDGE_EVERY_S = 5.0
"""How often it is looked whether reading has come to a halt although records wait."""


class Tables(TableManager):
    """Faust's manager of the tables that we do not have, without its pause of a second at the start."""

    async def on_start(self) -> None:
        """Go on to the (empty) recovery, from which reading begins."""
        await self._update_channels()
        await self.recovery.start()


class WorkerApp(faust.App):
    """Faust's app with our consumer, a start that waits for what must come first, and a clean stop."""

    recovering: bool
    """Partitions are being assigned and snapshots loaded."""
    broker_error: str
    """Why the broker did not answer when it was last asked; empty if it did."""
    alone: bool
    """True: take every partition and join no group, which suits the only worker of a prefix and starts faster."""

    def equip(self, settings: Settings, folds: Sequence[Fold[Any]], book: RegistryBook, catalogue: str) -> None:
        """Give the app its stages; an agent is registered for each."""
        self.settings = settings
        self.recovering = True
        self.broker_error = ""
        kafka = settings.kafka
        limits = Limits(settings.worker.snapshot_frames, round(settings.worker.snapshot_mb * 1_000_000))
        self.stages = [Stage(fold, self, kafka.bootstrap_servers, kafka.prefix, catalogue, limits) for fold in folds]
        self.registry_reader = RegistryReader(kafka.bootstrap_servers, topic_name(kafka.prefix, "devices"), book)
        self.health = HealthPage(self, settings.worker.health_port, settings.worker.health_host)
        self.watchdog = Watchdog(self.stages, self.die, idle=lambda: self.recovering or bool(self.broker_error))
        self._taking_over = asyncio.Lock()
        for stage in self.stages:
            topic = self.topic(
                stage.source_topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
            )
            self.agent(topic, name=stage.fold.name)(stage.run)

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> Transport:
        return Transport(self.conf.broker_producer, self)

    # --- what stages need (`streams.stage.Host`) ---------------------------------------------------------

    async def put(
        self, topic: str, partition: int, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> asyncio.Future[Any]:
        """Hand a record to the producer; the future is done when the broker has acknowledged it."""
        return asyncio.ensure_future(await self.producer.send(topic, key, value, partition, None, list(headers)))

    async def reread(self, tp: TP, offset: int) -> None:
        """Read a partition from `offset` again, unless it has gone to another worker meanwhile."""
        try:
            await self.consumer.seek_wait({tp: offset})
        except IllegalStateError as error:
            log.info("not reading again, the partition is not ours any more", partition=str(tp), error=str(error))

    def safe_below(self, tp: TP, offset: int) -> None:
        """Note that everything below `offset` may be committed."""
        cast(Consumer, self.consumer).safe[tp] = offset

    def end_of(self, tp: TP) -> int | None:
        """The offset that the next record of a partition will get, as far as the last fetch knew."""
        if self._consumer is None or self.recovering:
            return None
        try:
            end: int | None = self._consumer.highwater(tp)
        except (ConsumerNotStarted, IllegalStateError):  # not started, or not assigned any more
            return None
        return end

    def die(self, code: int, message: str, **facts: object) -> None:
        """End the process at once: what is not acknowledged is done again by the next one."""
        log.critical(message, exit_code=code, **facts)
        flush()
        os._exit(code)

    # --- what the consumer needs --------------------------------------------------------------------------

    def partitions_of(self, topic: str) -> int:
        """How many partitions a source topic has."""
        role = topic.removeprefix(self.settings.kafka.prefix)
        return partitions_of(ROLES[role], self.settings.kafka)

    async def positions(self, assigned: set[TP]) -> Mapping[TP, int]:
        """From which offset each assigned partition is to be read. Faust may ask twice at the same time."""
        async with self._taking_over:
            found = await asyncio.gather(
                *(
                    stage.positions({tp.partition for tp in assigned if tp.topic == stage.source_topic})
                    for stage in self.stages
                )
            )
            self.recovering = False
        return {tp: offset for positions in found for tp, offset in positions.items()}

    def on_rebalance_start(self) -> None:
        """Called by Faust, in the consumer's thread."""
        self.recovering = True
        super().on_rebalance_start()

    # --- start and stop -----------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Before anything is read: topics, their ids, the device registry. A broker that is away is waited for."""
        if not self.settings.kafka.bootstrap_servers:
            raise SettingsError(
                "the worker has no broker", remedy="set PEARLSTREAM_KAFKA__BOOTSTRAP_SERVERS, or use `pearlstream demo`"
            )
        await self.health.start()
        ids = await self._patiently_made_topics()
        if ids is None:
            return
        for stage in self.stages:
            stage.topic_id = ids[stage.fold.source]
        await self.registry_reader.start(self.die)
        self.watchdog.start()
        self.add_future(self._watch_topic_ids())
        self.add_future(self._nudge())
        await super().on_start()

    async def _patiently_made_topics(self) -> dict[str, str] | None:
        """The topics' ids, however long the broker is away; None if we are to stop before it is back.

        Ending instead would make whoever starts us again do so for ever, and the last one give up.
        """
        wait_s = FIRST_WAIT_S
        self.broker_error = f"no broker has answered yet at {self.settings.kafka.bootstrap_servers}"
        while not self.should_stop:
            try:
                ids = await asyncio.to_thread(_make_topics, self.settings.kafka)
            except ServiceError as error:
                self.broker_error = error.message
                log.warning("waiting for the broker", error=error.message, again_in_s=wait_s)
                await self.sleep(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            else:
                self.broker_error = ""
                return ids
        return None

    async def on_stop(self) -> None:
        """Finish what is in hand, take snapshots, commit; then let Faust stop."""
        await asyncio.gather(*(stage.drain() for stage in self.stages))
        if self._consumer is not None:
            with suppress(ConsumerNotStarted):
                await self.consumer.commit()
        await self.registry_reader.stop()
        await super().on_stop()
        self.watchdog.stop()
        await self.health.stop()

    async def _nudge(self) -> None:
        seen = 0
        while not self.should_stop:
            await asyncio.sleep(NUDGE_EVERY_S)
            now = sum(stage.progress for stage in self.stages)
            if not self.recovering:
                for stage in self.stages:
                    await stage.nudge(others_move=now != seen)
            seen = now

    async def _watch_topic_ids(self) -> None:
        """A topic that is made anew starts at 0 again: positions of the old one would swallow the new data."""
        while not self.should_stop:
            await asyncio.sleep(TOPIC_ID_EVERY_S)
            try:
                ids = await asyncio.to_thread(_topic_ids, self.settings.kafka, [s.fold.source for s in self.stages])
            except PearlstreamError as error:
                log.warning("the topics' ids cannot be read", error=str(error))
                self.broker_error = str(error)
                continue
            self.broker_error = ""
            for stage in self.stages:
                if ids.get(stage.fold.source) != stage.topic_id:
                    self.die(EXIT_TRY_AGAIN, f"the topic {stage.source_topic} was made anew; starting again")


def _make_topics(kafka: Kafka) -> dict[str, str]:
    with admin_client(kafka, patience_s=PATIENCE_S) as admin:
        return ensure_topics(admin, kafka)


def _topic_ids(kafka: Kafka, roles: Sequence[str]) -> dict[str, str]:
    with admin_client(kafka) as admin:
        return topic_ids(admin, kafka, roles)


def make_folds(settings: Settings, stages: Sequence[str]) -> tuple[list[Fold[Any]], RegistryBook, str]:
    """The folds of these stages, the registry that they share, and the catalogue's version."""
    from pearlstream.catalogue import load_catalogue
    from pearlstream.folds.admit import Admit
    from pearlstream.folds.alert import AlertFold
    from pearlstream.folds.cluster import Cluster
    from pearlstream.folds.indicate import Indicate
    from pearlstream.program import compile_catalogue

    catalogue = load_catalogue(settings.catalogue.overlays)
    program = compile_catalogue(catalogue)
    book = RegistryBook(catalogue.feeds)
    made: dict[str, Callable[[], Fold[Any]]] = {
        "admit": lambda: Admit(program, book, settings.kafka.partitions, settings.kafka.seal),
        "indicate": lambda: Indicate(program, book, settings.kafka.partitions),
        "cluster": lambda: Cluster(program, book, settings.kafka.partitions),
        "alert": lambda: AlertFold(program, namespace=settings.kafka.prefix),
    }
    unknown = sorted(set(stages) - set(made))
    if unknown:
        raise SettingsError(f"there is no stage {unknown[0]!r}", remedy=f"stages are {', '.join(STAGES)}")
    return [made[stage]() for stage in STAGES if stage in stages], book, catalogue.version


def make_app(
    settings: Settings,
    stages: Sequence[str] = STAGES,
    *,
    folds: Sequence[Fold[Any]] | None = None,
    book: RegistryBook | None = None,
    alone: bool = False,
) -> WorkerApp:
    """The Faust application that runs these stages; nothing is connected before it starts.

    `folds` replaces the stages' own folds (tests do). Raises CatalogueError, or SettingsError for an unknown stage.
    """
    if folds is None:
        folds, book, catalogue = make_folds(settings, stages)
    else:
        catalogue = ""
    app = WorkerApp(**faust_options(settings, alone))
    app.alone = alone
    app.equip(settings, folds, book if book is not None else RegistryBook({}), catalogue)
    return app


def faust_options(settings: Settings, alone: bool) -> dict[str, Any]:
    """What Faust is told; its times are in seconds."""
    kafka = settings.kafka
    return {
        # Offsets committed without joining the group would be refused while it has members.
        "id": f"{kafka.prefix}worker{'.alone' if alone else ''}",
        "broker": f"kafka://{kafka.bootstrap_servers or '127.0.0.1:9092'}".replace(",", ";kafka://"),
        "agent_supervisor": "mode.CrashingSupervisor",
        "web_enabled": False,
        "store": "memory://",
        "datadir": str(Path(gettempdir()) / "pearlstream-faust"),  # Faust makes it; nothing of ours is kept there
        "TableManager": Tables,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": FETCH_BYTES,
        "broker_max_poll_records": 1000,
        "broker_session_timeout": SESSION_TIMEOUT_S,
        "broker_heartbeat_interval": SESSION_TIMEOUT_S / 4,
        "broker_rebalance_timeout": 20.0,
        "broker_commit_interval": 1.0,
        "stream_wait_empty": False,
        "stream_buffer_maxsize": 512,
        "stream_recovery_delay": 0.0,
        "producer_acks": -1,
        "producer_linger": 0.005,
        "producer_max_batch_size": 1 << 20,
        "producer_max_request_size": LARGEST_MESSAGE + (1 << 16),
        "producer_request_timeout": 300.0,
        "worker_redirect_stdouts": False,
        "logging_config": dict_config(settings.log.level),
    }


def __getattr__(name: str) -> WorkerApp:
    """`app`, made from the settings when Faust's command line first asks for it."""
    if name != "app":
        raise AttributeError(name)
    settings = load_settings()
    configure(settings.log.level)
    made = globals()["app"] = make_app(settings)
    return made
