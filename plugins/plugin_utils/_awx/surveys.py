# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What AWX asks before a job: a verb's options as the questions of a survey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._federation.schema import Boolean, Choice, Integer, Reference, Text
from .verbs import Option, Verb

BOTH = ("false", "true")


def survey(verb: Verb, stacks: Sequence[str], backups: str) -> dict[str, Any]:
    """The survey of a verb's template; empty where there is nothing to ask. ``stacks`` are those there are, and
    ``backups`` is the folder in which a job finds them.
    """
    asked = [
        option for option in verb.options if not option.here and (stacks or not isinstance(option.type, Reference))
    ]
    questions = [question(option, stacks, backups) for option in asked]
    return {"name": "", "description": "", "spec": questions} if questions else {}


def question(option: Option, stacks: Sequence[str], backups: str) -> dict[str, Any]:
    """One question, with every key that the API keeps, so that what it has is what it was sent.

    One that has no default has no such key: AWX would send an empty one as the answer.
    """
    kind, limits, choices = _answers(option, stacks)
    asked: dict[str, Any] = {
        "question_name": option.name,
        "question_description": option.help,
        "variable": option.name,
        "type": kind,
        "required": option.required,
        "min": limits[0],
        "max": limits[1],
        "choices": list(choices),
    }
    default = _default(option, backups)
    return asked if default is None else {**asked, "default": default}


def _answers(option: Option, stacks: Sequence[str]) -> tuple[str, tuple[int | None, int | None], Sequence[str]]:
    """The type of an answer, its bounds (of a text those of its length), and what there is to choose from."""
    match option.type:
        case Text(min_length=least, max_length=most):
            return "password" if option.secret else "text", (least if option.required else 0, most), ()
        case Integer(minimum=least, maximum=most):
            return "integer", (least, most), ()
        case Choice(words=words):
            return "multiplechoice", (None, None), words
        case Boolean():
            return "multiplechoice", (None, None), BOTH
        case Reference():
            return "multiplechoice", (None, None), stacks


def _default(option: Option, backups: str) -> str | int | None:
    if option.backups:
        return backups or None
    return str(option.default).lower() if isinstance(option.default, bool) else option.default
