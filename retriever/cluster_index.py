"""An index whose shards a Ray cluster holds: whoever searches it waits for no lost node.

Every question goes to one replica of each shard at the same time. One that fails, or is slow, is
left for the next, and then asked last for a while. All is bounded in time.
"""

import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from retriever.artefacts import Manifest
from retriever.cluster import NAMESPACE, ask_facts, connect, deployed_names, shard_of
from retriever.errors import ArtefactError, ArtefactMismatch, QueryError, RetrieverError
from retriever.sharded import ShardedSnapshot
from retriever.shards import ShardFacts, require_complete

PATIENCE = 2.0  # seconds before another replica is asked too; searches take milliseconds
REST, LONGEST_REST = 5.0, 60.0  # seconds in which one that failed is asked last; doubles each time
RETRY = 0.25  # seconds between rounds while all replicas of a shard are being brought back
DEADLINE = 30.0  # seconds for a question to all shards; Ray brings an actor back within ten
OPENING = 60.0  # seconds for finding the shards

DEPLOY = "'rag-rt cluster deploy'"


class ClusterIndex:
    """What `retriever.index.Index` is for an index on this machine."""

    def __init__(self, address: str) -> None:
        """Join a cluster and find the shards that are deployed on it.

        Args:
            address: HOST:PORT of its head, or "auto" for the one that this machine is a node of.

        Raises:
            RetrieverError: it cannot be reached, or does not hold all shards of an index.
        """
        self.directory = f"ray://{address}"
        self._lock = threading.Lock()
        connect(address)
        self._shards = _ClusterShards.deployed(self.directory)

    def current(self) -> ShardedSnapshot:
        """The shards as they are deployed now.

        Raises:
            RetrieverError: all replicas of a shard were lost and are not deployed again.
            ArtefactMismatch: shards by another encoder have taken their place.
        """
        if self._shards.lost:
            with self._lock:
                if self._shards.lost:
                    self._reopen()
        return ShardedSnapshot(self.directory, self._shards)

    @property
    def manifest(self) -> Manifest:
        """Of the index that was cut."""
        return ShardedSnapshot(self.directory, self._shards).manifest

    def _reopen(self) -> None:
        new = _ClusterShards.deployed(self.directory)
        if _encoder(new) != _encoder(self._shards):
            raise ArtefactMismatch(
                f"{self.directory} now holds an index by another encoder; restart what searches it"
            )
        self._shards = new


class _ClusterShards:
    """All shards of an index, each with the actors that hold it."""

    def __init__(self, facts: Sequence[ShardFacts], replicas: Sequence["_Replicas"]) -> None:
        self.facts = facts
        self._replicas = replicas

    @classmethod
    def deployed(cls, place: str) -> "_ClusterShards":
        """Those that the cluster holds.

        Raises:
            RetrieverError: it does not hold all shards of an index, or they do not answer.
        """
        found = ask_facts(deployed_names(), OPENING)
        held: dict[int, list[ShardFacts]] = {}
        for name, answer in found.items():
            if not isinstance(answer, Exception):
                held.setdefault(shard_of(name), []).append(answer[0])
        facts = [held[number][0] for number in sorted(held)]
        try:
            require_complete(facts, place)
        except ArtefactError as error:
            raise RetrieverError(f"{error}, then {DEPLOY}") from error
        if any(other != some[0] for some in held.values() for other in some):
            raise ArtefactMismatch(
                f"{place} holds replicas of different shards under one number; run 'rag-rt cluster "
                f"remove', then {DEPLOY}"
            )
        names: dict[int, list[str]] = {}
        for name in found:
            names.setdefault(shard_of(name), []).append(name)
        return cls(facts, [_Replicas(shard, names[shard.number]) for shard in facts])

    @property
    def lost(self) -> bool:
        """Whether a question found no replica of a shard."""
        return any(replicas.lost for replicas in self._replicas)

    def ask(self, question: str, arguments: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """See `retriever.sharded.Shards`.

        Raises:
            RetrieverError: no replica of a shard answers; the message names the shard.
        """
        deadline = time.monotonic() + DEADLINE
        asked = {
            shard: _Asked(self._replicas[shard], question, some)
            for shard, some in arguments.items()
        }
        return {shard: one.result(deadline) for shard, one in asked.items()}


class _Replica:
    """An actor by its name; what has that name is looked up again when it has failed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rests_until = 0.0
        self._rest = REST
        self._handle: Any = None

    def ask(self, *arguments: Any) -> Any:
        """Send a question; returns the reference of its answer.

        Raises:
            ValueError: there is no such actor any more.
        """
        handle = self._handle
        if handle is None:
            handle = self._handle = ray.get_actor(self.name, NAMESPACE)
        return handle.answer.remote(*arguments)

    def rest(self) -> None:
        """Be asked last for a while."""
        self._handle = None
        self.rests_until = time.monotonic() + self._rest
        self._rest = min(2 * self._rest, LONGEST_REST)

    def answered(self) -> None:
        """Be asked in turn again."""
        self.rests_until, self._rest = 0.0, REST


class _Replicas:
    """The actors that hold a shard."""

    def __init__(self, facts: ShardFacts, names: Sequence[str]) -> None:
        self.facts = facts
        self.lost = False
        """Whether none of them was there when a question came."""
        self._replicas = [_Replica(name) for name in names]
        self._turn = 0

    def in_order(self) -> list[_Replica]:
        """All of them: in turn, so that they share the work, and those that rest at the end."""
        self._turn += 1
        first, now = self._turn % len(self._replicas), time.monotonic()
        turned = self._replicas[first:] + self._replicas[:first]
        return sorted(turned, key=lambda replica: replica.rests_until > now)


class _Asked:
    """A question that is with one replica of a shard or more."""

    def __init__(self, replicas: _Replicas, question: str, arguments: tuple[Any, ...]) -> None:
        self._replicas = replicas
        self._message = (replicas.facts.version, question, *arguments)
        self._references: dict[Any, _Replica] = {}
        self._untried = replicas.in_order()
        self._problem: Exception | None = None
        self._patience_ends = 0.0
        self._hope = False
        """Whether one was lost in this round: as long as it has its name, Ray brings it back."""
        self._ask_next()

    def result(self, deadline: float) -> Any:
        """Wait for the first answer.

        Raises:
            QueryError: the question is out of bounds.
            RetrieverError: no replica answers, or not before the deadline.
        """
        while (left := deadline - time.monotonic()) > 0:
            if not self._references and not self._ask_next():
                if not self._hope:
                    break
                time.sleep(min(RETRY, left))
                self._begin_again()
                continue
            if self._untried or self._hope:
                left = min(left, max(0.0, self._patience_ends - time.monotonic()))
            ready, slow = ray.wait(list(self._references), timeout=left)
            if not ready:
                for reference in slow:
                    self._references[reference].rest()
                if not self._ask_next():
                    self._begin_again()
                continue
            replica = self._references.pop(ready[0])
            try:
                answer = _answer(ready[0])
            except QueryError:
                raise
            except (RayError, RetrieverError, OSError) as error:
                self._failed(replica, error)
                self._ask_next()
            else:
                replica.answered()
                return answer
        self._replicas.lost = True
        raise RetrieverError(self._explained())

    def _begin_again(self) -> None:
        """Have another round of those that have not been silent all the time."""
        silent = self._references.values()
        self._untried = [one for one in self._replicas.in_order() if one not in silent]
        self._hope = False

    def _ask_next(self) -> bool:
        """Ask a replica that was not asked yet; False where there is none."""
        while self._untried:
            replica = self._untried.pop(0)
            self._patience_ends = time.monotonic() + PATIENCE
            try:
                self._references[replica.ask(*self._message)] = replica
            except (ValueError, RayError) as error:
                self._failed(replica, error)
            else:
                return True
        return False

    def _failed(self, replica: _Replica, error: Exception) -> None:
        replica.rest()
        self._problem = error
        lost = isinstance(error, RayError) and not isinstance(error, RayTaskError)
        self._hope = self._hope or lost

    def _explained(self) -> str:
        facts = self._replicas.facts
        reason = "it gave no answer in time"
        if self._problem is not None:
            lines = re.sub(r"\x1b\[\d+m", "", str(self._problem)).strip().splitlines()
            reason = lines[-1].strip() if lines else type(self._problem).__name__
        return (
            f"no replica of shard {facts.number} (of {facts.of}) can be asked: {reason}; look at "
            f"'rag-rt cluster status', and run {DEPLOY} again"
        )


def _answer(reference: Any) -> Any:
    """The answer that a reference stands for, or the error that the actor raised."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, (RetrieverError, OSError)):
            raise error.cause from None
        raise


def _encoder(shards: _ClusterShards) -> object:
    return shards.facts[0].settings["encoder_fingerprint"]
