//! `--quick`: the same game with a smaller budget.
//!
//! Only how much is played and learnt shrinks; rules, constraints and learning rates stay, so that a
//! quick run answers the same question with wider intervals. A setting that is already smaller than
//! its quick value is kept: quick never makes a run longer.

use super::Scenario;

impl Scenario {
    /// The scenario with every budget cut to at most its quick value.
    #[must_use]
    pub fn quick(mut self) -> Self {
        let limits = [
            (&mut self.solver.iterations, 2),
            (&mut self.solver.entry_dialogues, 64),
            (&mut self.solver.gain_dialogues, 128),
            (&mut self.certify.dialogues, 2048),
            (&mut self.red.learning.steps, 8),
            (&mut self.red.learning.batch, 64),
            (&mut self.red.search_rounds, 2),
            (&mut self.red.search_dialogues, 1024),
            (&mut self.red.archive_dialogues, 128),
            (&mut self.red.repertoire, 128),
            (&mut self.blue.learning.steps, 8),
            (&mut self.blue.learning.batch, 64),
            (&mut self.blue.honest_batch, 32),
            (&mut self.blue.honest_requests, 768),
            (&mut self.blue.concessions, 128),
            (&mut self.probe.steps, 12),
            (&mut self.probe.dialogues, 200),
            (&mut self.evaluation.honest_dialogues, 1000),
            (&mut self.evaluation.grid_paraphrases, 4),
        ];
        for (setting, limit) in limits {
            *setting = limit.min(*setting);
        }
        self
    }
}
