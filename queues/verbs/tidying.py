"""The verbs that change what is in the switch, for operators."""

from __future__ import annotations

import argparse

from queues.console import Console, UsageError

from .common import Verb, client_of, ids_argument, message_id, queue_argument


def _ack_arguments(parser: argparse.ArgumentParser) -> None:
    queue_argument(parser)
    parser.add_argument("id", type=message_id, metavar="ID", help="id of the message")


def _ack(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        client.drop(options.queue, options.id)
    console.answer({"dropped": options.id}, f"dropped {options.id}")
    return 0


def _purge_arguments(parser: argparse.ArgumentParser) -> None:
    queue_argument(parser)
    parser.add_argument(
        "--state",
        choices=("ready", "delayed", "held", "dead"),
        help="drop the messages in this state (default: ready and delayed)",
    )


def _purge(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        result = client.purge(options.queue, options.state)
    console.answer(result, f"purged {result.purged}")
    return 0


def _destroy(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        client.destroy(options.queue)
    console.answer({"destroyed": options.queue}, f"destroyed {options.queue}")
    return 0


def _pause(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        queue = client.pause(options.queue)
    console.answer(queue, f"paused {queue.name}")
    return 0


def _resume(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        queue = client.resume(options.queue)
    console.answer(queue, f"resumed {queue.name}")
    return 0


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    queue_argument(parser)
    ids_argument(parser, "dead")


def _replay(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        result = client.replay(options.queue, options.ids or None)
    console.answer(
        result,
        f"replayed {result.replayed}",
        *_rest(result.not_dead, "not dead"),
        *_rest(result.no_room, "without room"),
    )
    return 0


def _requeue_arguments(parser: argparse.ArgumentParser) -> None:
    queue_argument(parser)
    ids_argument(parser, "held")


def _requeue(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        result = client.requeue(options.queue, options.ids or None)
    console.answer(result, f"requeued {result.requeued}", *_rest(result.not_held, "not held"))
    return 0


def _move_arguments(parser: argparse.ArgumentParser) -> None:
    queue_argument(parser)
    parser.add_argument("target", metavar="TARGET", help="the queue to put them into")
    ids_argument(parser, "ready or delayed")
    parser.add_argument(
        "--state",
        choices=("ready", "delayed", "dead"),
        help="move the messages in this state (default: ready and delayed)",
    )


def _move(console: Console, options: argparse.Namespace) -> int:
    if options.ids and options.state is not None:
        raise UsageError("Name the messages or their state, not both.")
    with client_of(options) as client:
        result = client.move(
            options.queue, options.target, options.ids or None, state=options.state
        )
    console.answer(
        result,
        f"moved {result.moved}",
        *_rest(result.not_movable, "not movable"),
        *_rest(result.no_room, "without room"),
    )
    return 0


def _rest(count: int, what: str) -> list[str]:
    """A line on the messages that stay as they are, if there are any."""
    return [f"{count} {what}"] if count else []


def _end_session_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=message_id, metavar="ID", help="id of the session")


def _end_session(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        client.end_session(options.id)
    console.answer({"ended": options.id}, f"ended {options.id}")
    return 0


VERBS = (
    Verb(
        name="pause",
        help="Let a queue hand out no messages; it goes on taking them.",
        arguments=queue_argument,
        run=_pause,
    ),
    Verb(
        name="resume",
        help="Let a paused queue hand out messages again.",
        arguments=queue_argument,
        run=_resume,
    ),
    Verb(
        name="requeue",
        help="Take held messages from their holders: they go to others.",
        arguments=_requeue_arguments,
        run=_requeue,
    ),
    Verb(
        name="replay",
        help="Make dead messages ready again.",
        arguments=_replay_arguments,
        run=_replay,
    ),
    Verb(
        name="move",
        help="Put messages into another queue.",
        arguments=_move_arguments,
        run=_move,
    ),
    Verb(
        name="end-session",
        help="End a session: what it holds goes to others.",
        arguments=_end_session_arguments,
        run=_end_session,
    ),
    Verb(
        name="ack",
        help="Drop a message, whatever its state and whoever holds it.",
        arguments=_ack_arguments,
        run=_ack,
    ),
    Verb(
        name="purge",
        help="Drop the messages of a queue.",
        arguments=_purge_arguments,
        run=_purge,
    ),
    Verb(
        name="destroy",
        help="Drop a queue and its messages.",
        arguments=queue_argument,
        run=_destroy,
    ),
)
