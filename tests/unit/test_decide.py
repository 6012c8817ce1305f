"""Every decision about a file, and the table of its states."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceblurd.model import Entry, Fingerprint, Mode, Reason, State
from faceblurd.rules.decide import (
    DISK_SECONDS,
    DONE,
    TRANSITIONS,
    Finish,
    Hold,
    PassOn,
    Redo,
    Restore,
    Retry,
    SetAside,
    Skip,
    Start,
    TakeAway,
    on_digest,
    on_failure,
    on_restart,
    on_settled,
    on_sight,
    reason_of,
    state_of_known,
)

PRINT = Fingerprint(1, 2, 3, 4, 5)
OTHER = Fingerprint(1, 2, 3, 4, 6)
DONE_ENTRY = Entry(
    "/r", "a.jpg", State.PUBLISHED, "R", PRINT, input_digest="in", output_digest="out", target=PRINT, to="/out"
)
ENDS = DONE | {State.QUARANTINED, State.RELEASED, State.IGNORED, State.VANISHED}
states = st.sampled_from(State)


# --- the table


def test_every_state_has_its_moves() -> None:
    assert set(TRANSITIONS) == set(State)


def _reachable(start: State, *, without: State | None = None) -> set[State]:
    found, todo = {start}, [start]
    while todo:
        new = [state for state in TRANSITIONS[todo.pop()] if state not in found and state is not without]
        found.update(new)
        todo += new
    return found


def test_every_state_is_reached_from_the_first_sight_and_leads_to_an_end() -> None:
    assert _reachable(State.SEEN) == set(State)
    for state in State:
        assert _reachable(state) & ENDS


@pytest.mark.parametrize("without", [State.SETTLING, State.QUEUED, State.WORKING])
def test_nothing_is_published_without_having_settled_queued_and_been_worked_on(without: State) -> None:
    assert not _reachable(State.SEEN, without=without) & DONE


def test_an_end_is_left_only_by_being_seen_again() -> None:
    assert all(TRANSITIONS[end] == {State.SEEN} for end in ENDS)


def test_a_file_can_be_held_from_everywhere_on_its_way() -> None:
    assert all(State.QUARANTINED in TRANSITIONS[state] for state in set(State) - ENDS)


# --- by lstat


def test_an_ignored_file_is_left_alone_for_as_long_as_the_config_says_so() -> None:
    ignored = replace(DONE_ENTRY, state=State.IGNORED)
    assert on_sight(PRINT, ignored, recipe="R", to="/out", ignores_unsupported=True) == Skip("ignored")
    assert on_sight(PRINT, ignored, recipe="R", to="/out") == Start()
    assert on_sight(OTHER, ignored, recipe="R", to="/out", ignores_unsupported=True) == Start()


def test_an_unknown_or_changed_file_is_taken_on() -> None:
    assert on_sight(PRINT, None, recipe="R", to="/out") == Start()
    assert on_sight(OTHER, DONE_ENTRY, recipe="R", to="/out") == Start()
    assert on_sight(PRINT, DONE_ENTRY, recipe="R2", to="/out") == Start()


@pytest.mark.parametrize("state", sorted(DONE))
def test_a_finished_file_that_did_not_change_costs_no_read(state: State) -> None:
    assert on_sight(PRINT, replace(DONE_ENTRY, state=state), recipe="R", to="/out") == Skip("done")


@pytest.mark.parametrize("state", sorted(set(State) - {State.RELEASED}))
def test_nothing_rests_under_another_mode_or_destination(state: State) -> None:
    entry = replace(DONE_ENTRY, state=state, reason=Reason.DAMAGED)
    assert isinstance(on_sight(PRINT, entry, recipe="R", to="/elsewhere"), Start)
    assert isinstance(on_sight(PRINT, entry, recipe="R", to="/r"), Start)
    assert isinstance(on_sight(PRINT, replace(entry, to="/r"), recipe="R", to="/out"), Start)


def test_what_an_older_version_did_counts_for_a_mirror_and_not_in_place() -> None:
    """It did not say where results went; in place is known all the same, since a result was its own source there."""
    older = replace(DONE_ENTRY, to="")
    assert on_sight(PRINT, older, recipe="R", to="/out") == Skip("done")
    assert on_sight(PRINT, older, recipe="R", to="/r") == Start()


def test_a_held_file_is_tried_again_when_a_setting_changed_that_may_have_held_it() -> None:
    held = replace(DONE_ENTRY, state=State.QUARANTINED, reason=Reason.TOO_LARGE, attempts=4, terms="1 MB")
    assert on_sight(PRINT, held, recipe="R", to="/out", terms="1 MB") == Skip("held")
    assert on_sight(PRINT, held, recipe="R", to="/out", terms="9 MB") == Start()
    assert on_sight(PRINT, held, recipe="R", to="/out", terms="9 MB", takes_away=True) == Start()


@pytest.mark.parametrize("reason", [Reason.NO_SPACE, Reason.UNREACHABLE])
def test_what_a_single_run_did_not_wait_for_is_tried_at_the_next(reason: Reason) -> None:
    held = replace(DONE_ENTRY, state=State.QUARANTINED, reason=reason)
    assert isinstance(on_sight(PRINT, held, recipe="R", to="/out", takes_away=True), Start)


def test_a_held_file_rests_until_it_or_the_recipe_changes() -> None:
    held = replace(DONE_ENTRY, state=State.QUARANTINED, reason=Reason.DAMAGED, attempts=4)
    assert on_sight(PRINT, held, recipe="R", to="/out") == Skip("held")
    assert on_sight(OTHER, held, recipe="R", to="/out") == Start()
    assert on_sight(PRINT, held, recipe="R2", to="/out") == Start()


def test_a_file_held_because_it_was_open_is_looked_at_again() -> None:
    held = replace(DONE_ENTRY, state=State.QUARANTINED, reason=Reason.BEING_WRITTEN)
    assert isinstance(on_sight(PRINT, held, recipe="R", to="/out"), Start)


def test_attempts_on_the_same_bytes_are_not_forgotten_and_on_other_bytes_they_are() -> None:
    tried = replace(DONE_ENTRY, state=State.RETRY, attempts=3)
    assert on_sight(PRINT, tried, recipe="R", to="/out") == Start(3)
    assert on_sight(OTHER, tried, recipe="R", to="/out") == Start(0)


@given(states, st.booleans(), st.booleans(), st.integers(0, 9))
def test_a_skip_by_lstat_needs_the_same_fingerprint_and_recipe(
    state: State, same_print: bool, same_recipe: bool, attempts: int
) -> None:
    entry = replace(DONE_ENTRY, state=state, attempts=attempts, recipe="R" if same_recipe else "R0")
    verdict = on_sight(PRINT if same_print else OTHER, entry, recipe="R", to="/out")
    if isinstance(verdict, Skip):
        assert same_print
        assert same_recipe or state is State.RELEASED
        assert state in DONE | {State.QUARANTINED, State.VANISHED, State.RELEASED}  # vanished: a person dropped it


def test_a_held_file_that_is_still_where_it_is_shown_is_taken_away_and_not_worked_on() -> None:
    held = replace(DONE_ENTRY, state=State.QUARANTINED, reason=Reason.DAMAGED, attempts=4)
    assert on_sight(PRINT, held, recipe="R", to="/out", takes_away=True) == TakeAway(held)
    assert on_sight(OTHER, held, recipe="R", to="/out", takes_away=True) == Start()
    assert on_sight(PRINT, held, recipe="R2", to="/out", takes_away=True) == Start()


@given(states, st.booleans(), st.booleans())
def test_nothing_but_a_held_file_is_taken_away(state: State, same_print: bool, same_recipe: bool) -> None:
    entry = replace(DONE_ENTRY, state=state, recipe="R" if same_recipe else "R0")
    verdict = on_sight(PRINT if same_print else OTHER, entry, recipe="R", to="/out", takes_away=True)
    assert isinstance(verdict, TakeAway) == (state is State.QUARANTINED and same_print and same_recipe)


# --- released by a person

RELEASED = replace(DONE_ENTRY, state=State.RELEASED, reason=Reason.DAMAGED)


def test_what_was_released_in_a_mirror_does_not_stay_un_blurred_in_place() -> None:
    assert on_sight(PRINT, RELEASED, recipe="R", to="/elsewhere") == Skip("released")
    assert on_sight(PRINT, RELEASED, recipe="R", to="/r") == Start()
    assert _digest("in", RELEASED, Mode.IN_PLACE) == Start()
    assert _digest("in", replace(RELEASED, to="/r"), Mode.IN_PLACE) == Skip("released")


@pytest.mark.parametrize("recipe", ["R", "R2"])
@pytest.mark.parametrize("takes_away", [True, False])
def test_a_released_file_rests_under_every_recipe_until_it_changes(recipe: str, *, takes_away: bool) -> None:
    assert on_sight(PRINT, RELEASED, recipe=recipe, to="/out", takes_away=takes_away) == Skip("released")
    assert on_sight(OTHER, RELEASED, recipe=recipe, to="/out", takes_away=takes_away) == Start()


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("recipe", ["R", "R2"])
def test_a_released_file_that_was_touched_rests_and_one_with_another_content_does_not(mode: Mode, recipe: str) -> None:
    def judge(digest: str, entry: Entry) -> Any:
        return on_digest(digest, entry, recipe=recipe, to="/out", mode=mode, own_output=False, target_present=False)

    assert judge("in", RELEASED) == Skip("released")
    assert judge("new", RELEASED) == Start()
    assert judge("out", RELEASED) == Start()  # an earlier result of this path is not what was released
    assert judge("in", replace(RELEASED, input_digest=None)) == Start()  # it could not be read when it was released


def test_what_is_known_stays_what_it_is() -> None:
    assert state_of_known(RELEASED, "in") is State.RELEASED
    assert state_of_known(RELEASED, "out") is State.PUBLISHED
    assert state_of_known(replace(DONE_ENTRY, state=State.CLEAN), "in") is State.CLEAN
    assert state_of_known(replace(DONE_ENTRY, state=State.RETRY), "out") is State.PUBLISHED


# --- by fstat and lease


def test_a_second_hard_link_holds_a_file_unless_allowed() -> None:
    assert on_settled(links=1, hard_links_ok=False, open_for_writing=False, overdue=True) == Start()
    assert on_settled(links=2, hard_links_ok=True, open_for_writing=False, overdue=False) == Start()
    held = on_settled(links=2, hard_links_ok=False, open_for_writing=False, overdue=False)
    assert isinstance(held, Hold)
    assert held.reason is Reason.HARD_LINK


def test_a_file_that_is_being_written_is_waited_for_and_then_held() -> None:
    assert isinstance(on_settled(links=1, hard_links_ok=False, open_for_writing=True, overdue=False), Retry)
    held = on_settled(links=1, hard_links_ok=False, open_for_writing=True, overdue=True)
    assert isinstance(held, Hold)
    assert held.reason is Reason.BEING_WRITTEN


# --- by digest


def _digest(digest: str, entry: Entry | None, mode: Mode, *, own: bool = False, present: bool = True) -> Any:
    to = "/r" if mode is Mode.IN_PLACE else "/out"
    return on_digest(digest, entry, recipe="R", to=to, mode=mode, own_output=own, target_present=present)


def test_our_own_result_is_left_alone_in_place_and_copied_into_a_mirror() -> None:
    assert _digest("out", DONE_ENTRY, Mode.IN_PLACE, own=True) == Skip("own output")
    assert _digest("out", None, Mode.IN_PLACE, own=True) == Skip("own output")
    assert _digest("out", None, Mode.MIRROR, own=True) == PassOn()
    copied = replace(DONE_ENTRY, state=State.CLEAN, input_digest="out", output_digest="out")
    assert _digest("out", copied, Mode.MIRROR, own=True) == Skip("same content")
    assert _digest("out", copied, Mode.MIRROR, own=True, present=False) == PassOn()
    assert _digest("out", replace(copied, recipe="R2"), Mode.MIRROR, own=True) == PassOn()
    assert _digest("in", RELEASED, Mode.MIRROR, own=True) == Skip("released")


def test_an_original_that_was_put_back_in_place_is_blurred_again() -> None:
    assert _digest("in", DONE_ENTRY, Mode.IN_PLACE) == Start()


UNTOUCHED = replace(DONE_ENTRY, state=State.CLEAN, output_digest=None, to="/r")


def test_a_touched_photo_that_needed_nothing_in_place_is_not_searched_again() -> None:
    assert isinstance(_digest("in", UNTOUCHED, Mode.IN_PLACE), Skip)


def test_an_original_that_was_put_back_over_its_scrubbed_copy_in_place_is_scrubbed_again() -> None:
    """Its thumbnail, its position and what is behind its end are there again."""
    assert _digest("in", replace(UNTOUCHED, output_digest="out"), Mode.IN_PLACE) == Start()


def test_a_clean_photo_of_a_mirror_is_no_clean_photo_in_place() -> None:
    """Its copy in the mirror was scrubbed, it was not."""
    assert _digest("in", replace(UNTOUCHED, to="/out", output_digest="out"), Mode.IN_PLACE) == Start()
    assert _digest("in", replace(UNTOUCHED, to=""), Mode.IN_PLACE) == Start()


def test_a_result_that_was_moved_along_with_its_mirror_is_not_made_again() -> None:
    assert isinstance(_digest("in", replace(DONE_ENTRY, to="/old"), Mode.MIRROR), Skip)
    assert _digest("in", replace(DONE_ENTRY, to="/old"), Mode.MIRROR, present=False) == Start()


def test_a_touched_source_is_skipped_in_the_mirror_only_while_its_result_is_there() -> None:
    assert isinstance(_digest("in", DONE_ENTRY, Mode.MIRROR), Skip)
    assert _digest("in", DONE_ENTRY, Mode.MIRROR, present=False) == Start()


@given(
    st.none() | st.builds(replace, st.just(DONE_ENTRY), state=states, recipe=st.sampled_from(["R", "R0"])),
    st.sampled_from(["in", "out", "new"]),
    st.sampled_from(Mode),
    st.booleans(),
)
def test_a_skip_by_digest_needs_the_digest_under_the_current_recipe(
    entry: Entry | None, digest: str, mode: Mode, present: bool
) -> None:
    if isinstance(_digest(digest, entry, mode, present=present), Skip):
        assert entry is not None
        assert digest == entry.input_digest
        if entry.state is State.RELEASED:
            return
        assert entry.state in DONE
        assert entry.recipe == "R"
        assert present or mode is Mode.IN_PLACE


# --- after a failure


def _failed(reason: Reason, *, retryable: bool = True, attempts: int = 1, overdue: bool = False) -> Retry | Hold:
    return on_failure(
        reason, retryable=retryable, attempts=attempts, max_attempts=4, retry_seconds=5.0, overdue=overdue
    )


def test_a_crash_is_tried_again_until_the_attempts_are_used_up() -> None:
    waits = [_failed(Reason.WORKER_CRASHED, attempts=n) for n in (1, 2, 3)]
    assert waits == [Retry(5.0), Retry(10.0), Retry(20.0)]
    assert _failed(Reason.WORKER_CRASHED, attempts=4) == Hold(Reason.WORKER_CRASHED, "")


def test_what_cannot_get_better_is_held_at_once() -> None:
    assert _failed(Reason.DAMAGED, retryable=False) == Hold(Reason.DAMAGED, "")


def test_a_full_disk_is_waited_out_by_the_daemon_and_reported_by_a_single_run() -> None:
    assert isinstance(_failed(Reason.NO_SPACE, attempts=99, overdue=True), Retry)
    single = on_failure(
        Reason.NO_SPACE, retryable=True, attempts=4, max_attempts=4, retry_seconds=1.0, overdue=True,
        waits_for_space=False,
    )  # fmt: skip
    assert single == Hold(Reason.NO_SPACE, "")


def test_an_unfinished_file_is_waited_for_by_time_and_not_by_attempts() -> None:
    assert isinstance(_failed(Reason.INCOMPLETE, attempts=99), Retry)
    assert _failed(Reason.INCOMPLETE, attempts=1, overdue=True) == Hold(Reason.INCOMPLETE, "")


def test_a_file_that_somebody_keeps_to_himself_is_waited_for_by_time_and_tried_more_than_once() -> None:
    assert reason_of(errno.EAGAIN) is Reason.BEING_WRITTEN
    assert isinstance(_failed(Reason.BEING_WRITTEN, attempts=99), Retry)
    assert isinstance(_failed(Reason.BEING_WRITTEN, attempts=1, overdue=True), Retry)
    assert _failed(Reason.BEING_WRITTEN, attempts=4, overdue=True) == Hold(Reason.BEING_WRITTEN, "")


def test_a_full_disk_never_holds_a_file() -> None:
    assert _failed(Reason.NO_SPACE, attempts=999, retryable=False, overdue=True) == Retry(DISK_SECONDS)


@given(st.sampled_from(Reason), st.booleans(), st.integers(1, 10**6), st.booleans())
def test_a_retry_waits_at_least_a_while_and_at_most_five_minutes(
    reason: Reason, retryable: bool, attempts: int, overdue: bool
) -> None:
    verdict = _failed(reason, retryable=retryable, attempts=attempts, overdue=overdue)
    if isinstance(verdict, Retry):
        assert 5.0 <= verdict.after_seconds <= 300.0
    else:
        assert verdict.reason is reason


# --- after a crash


def _restart(
    *, target: str | None, staging: str | None, output: str | None = "out"
) -> Finish | Redo | Restore | SetAside:
    return on_restart(target=target, staging=staging, replaced="in", output_digest=output)


@pytest.mark.parametrize(
    ("target", "staging", "expected"),
    [
        ("in", None, Redo()),  # before anything
        ("in", "out", Redo()),  # the staging file has its name, nothing more
        (None, "out", Redo()),
        ("newer", "out", Redo()),
        ("out", None, Finish()),  # renamed
        ("out", "in", Finish()),  # exchanged, what was replaced not yet unlinked
        ("out", "newer", Restore()),  # exchanged with what nobody read
        ("out", "", Restore()),  # ... and cannot be read
        ("newer", "in", Redo()),  # exchanged, then overwritten by a newer upload
        (None, "in", Redo()),  # exchanged, then moved away
        (None, "newer", Restore()),  # the same, with what nobody read
        ("newest", "newer", SetAside()),  # ... and the name was taken again
        ("newest", "", SetAside()),
    ],
)
def test_a_restart_finishes_redoes_or_restores(
    target: str | None, staging: str | None, expected: Finish | Redo | Restore | SetAside
) -> None:
    assert _restart(target=target, staging=staging) == expected


@given(st.sampled_from([None, "in", "out", "newer"]), st.sampled_from([None, "in", "out", "newer"]))
def test_a_job_without_a_result_is_done_again(target: str | None, staging: str | None) -> None:
    assert _restart(target=target, staging=staging, output=None) == Redo()


def test_a_dropped_file_is_left_alone_until_it_changes() -> None:
    seen = Fingerprint(1, 2, 3, 4, 5)
    dropped = Entry("/r", "a.jpg", State.VANISHED, "R", seen)
    assert on_sight(seen, dropped, recipe="R", to="/out") == Skip("dropped")
    assert isinstance(on_sight(replace(seen, mtime_ns=9), dropped, recipe="R", to="/out"), Start)
