//! What administrators ask of a transfer that runs: to pass over what waits, and to try dead letters again.

use hume_runtime::clock;
use hume_runtime::task_group::Stop;
use tracing::info;

use super::{Course, Pump, PumpError, give, letter_of};
use crate::log;
use crate::notice::Notice;
use crate::state::Skip;
use crate::transfer::{Transfer, Trouble};

impl Pump {
    /// Passes over what an administrator asked for with `transfer skip`, also while the peer is away.
    pub(super) async fn skip(&mut self, course: &mut Course) -> Result<(), PumpError> {
        let Some(skip) = self.state.wish_to_skip(&self.name).await? else { return Ok(()) };
        match skip {
            Skip::One => {
                if course.held.is_empty() {
                    self.read(course).await?;
                }
                if let Some(notice) = course.held.pop_front() {
                    info!(transfer = %self.name, id = %notice.event.event.id, "an administrator had a notice passed over");
                    course.record.figures.skipped += 1;
                    course.record.settled = Some(notice.event.event.id);
                    let reason = "passed over by an administrator".to_owned();
                    course.change.dead.push((letter_of(&notice), reason));
                }
                if course.held.is_empty() {
                    course.record.cursor = course.next;
                    course.record.settled = None;
                }
            }
            Skip::All => {
                let (beyond, _) = self.count(course.next).await?;
                let count = course.held.len() as u64 + beyond;
                course.held.clear();
                course.next = log::end(&*self.log).await?;
                course.at_end = true;
                course.beyond = (0, false);
                course.record.cursor = course.next;
                course.record.settled = None;
                course.record.figures.skipped += count;
                info!(transfer = %self.name, count, "an administrator had everything passed over that waited");
            }
        }
        course.change.skip_done = true;
        course.record.figures.trouble = None;
        course.not_before = None;
        self.save(course).await
    }

    /// Tries dead letters again that an administrator asked for, until the peer cannot be reached: the rest then waits as all does.
    pub(super) async fn revive(
        &mut self,
        course: &mut Course,
        transfer: &mut dyn Transfer,
        max: u32,
        stop: &Stop,
    ) -> Result<(), PumpError> {
        let letters = self.state.letters_to_retry(&self.name, max).await?;
        course.retry_wished = letters.len() == max as usize;
        for letter in letters {
            if stop.is_set() {
                break;
            }
            let batch = [Notice::of(letter.event)];
            let Some(delivery) = give(transfer, &batch, stop).await else { break };
            match delivery.trouble {
                None => {
                    course.spend(1);
                    course.change.revived.push(letter.id);
                    course.record.figures.delivered += 1;
                    course.record.figures.last_success = Some(clock::now());
                    self.recovered(course);
                }
                Some(Trouble::Later { reason, after }) => {
                    course.retry_wished = true;
                    self.failed(course, reason, after, clock::now());
                    self.save(course).await?;
                    break;
                }
                Some(Trouble::Never { reason }) => {
                    course.spend(1);
                    info!(transfer = %self.name, letter = letter.id, reason, "a dead letter was not taken");
                    course.change.dead_again.push((letter.id, reason));
                }
            }
            self.save(course).await?;
        }
        Ok(())
    }
}
