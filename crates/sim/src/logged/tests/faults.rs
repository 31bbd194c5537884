//! What each fault of the product would leave in a history is named by the invariant that is for it.

use super::ids;
use super::story::{Seeded, run};

#[track_caller]
fn finds(fault: Seeded, by: &str) {
    let found = ids(&run(200, Some(fault)));
    assert!(found.iter().any(|id| id == by), "{fault:?} is to be found by {by}, and was by {found:?}");
}

#[test]
fn an_ack_before_the_commit_is_found_early_and_lost() {
    finds(Seeded::AckBeforeCommit, "I8");
    finds(Seeded::AckBeforeCommit, "I1");
}

#[test]
fn a_vote_that_was_not_synced_is_found_as_two_leaders_and_two_messages_of_one_place() {
    finds(Seeded::VoteNotSynced, "I3");
}

#[test]
fn an_entry_that_was_not_synced_is_found_at_its_ack() {
    finds(Seeded::EntryNotSynced, "I8");
}

#[test]
fn a_sync_that_was_tried_again_after_an_error_is_found() {
    finds(Seeded::RetrySyncAfterError, "I8");
}

#[test]
fn a_retry_that_is_taken_again_is_found_at_two_places_and_twice_at_its_subscriber() {
    finds(Seeded::NoLaneCheck, "I3");
    finds(Seeded::NoLaneCheck, "I4");
    finds(Seeded::LaneLostOnRestart, "I3");
    finds(Seeded::LaneLostOnRestart, "I4");
}

#[test]
fn positions_by_a_clock_are_found_not_dense() {
    finds(Seeded::PositionByLeaderClock, "I6");
}

#[test]
fn a_cursor_that_was_kept_before_the_output_is_found_as_a_hole() {
    finds(Seeded::CursorBeforeOutput, "I5");
}

#[test]
fn a_resume_that_is_off_by_one_is_found_twice_or_as_a_hole() {
    finds(Seeded::ResumeOneTooLow, "I4");
    finds(Seeded::ResumeOneTooHigh, "I5");
}

#[test]
fn a_gap_that_is_not_told_is_found_as_a_hole_and_at_the_resume() {
    finds(Seeded::GapSwallowed, "I5");
    finds(Seeded::GapSwallowed, "I7");
}

#[test]
fn a_log_that_ends_at_its_damage_is_found_at_once_and_as_a_lost_suffix() {
    finds(Seeded::TruncateOnBadCrc, "I8");
    finds(Seeded::TruncateOnBadCrc, "I1");
}
