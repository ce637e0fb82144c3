//! What goes wrong, and when: records, crashes, suspensions, expulsions, rebalances, weather, other engines, clock jumps. Owns the odds; the seed throws the dice.

use crate::pipeline::simulation::instance::Phase;
use crate::pipeline::simulation::world::World;
use crate::testing::distant_store::Weather;
use crate::trial::{self, Bug};

/// Instances at most.
const INSTANCES_MAX: usize = 3;

const STORM: Weather = Weather {
    lost: 60,
    answer_lost: 120,
    false_exists: 60,
    late: 60,
    silent: 30,
    delay_max_ms: 20_000,
};

const DRIZZLE: Weather = Weather {
    lost: 10,
    answer_lost: 30,
    false_exists: 10,
    late: 10,
    silent: 3,
    delay_max_ms: 4_000,
};

const SUN: Weather = Weather {
    lost: 0,
    answer_lost: 0,
    false_exists: 0,
    late: 0,
    silent: 0,
    delay_max_ms: 200,
};

impl World {
    /// Lets what is due happen.
    pub(super) fn happen(&mut self) -> Result<(), String> {
        if self.now() >= self.produce_at_ms {
            self.produce();
        }
        // It takes a night between a file and its commit, and few seeds have one there.
        let is_steered = trial::has(Bug::AgedFiles) && self.may_have_a_night();
        if is_steered && self.end.has_staged_file() {
            self.night();
        }
        if self.now() < self.happens_at_ms {
            return Ok(());
        }
        if self.is_calm() {
            self.calm();
            return Ok(());
        }
        self.happens_at_ms = self.now() + self.random.within(200..=6_000);
        let index = self.random.index(self.instances.len());
        match self.random.within(0..=99) {
            0..=11 => self.crash(index),
            12..=23 => self.freeze(index),
            24..=33 => self.expel(index),
            34..=41 => {
                self.broker.rebalance();
                self.count("rebalances");
            }
            42..=47 if self.instances.len() < INSTANCES_MAX => {
                self.note("another instance");
                self.begin_instance();
                self.count("instances added");
            }
            42..=59 => self.change_weather(),
            60..=87 => {
                let lake = self.some_lake();
                let act = self.lakes[lake].act(&mut self.random)?;
                self.note(act);
                self.count(act);
            }
            88..=91 => {
                let off_ms = i64::try_from(self.random.within(0..=7_200_000)).unwrap() - 3_600_000;
                self.instances[index].surroundings.clock.jump(off_ms);
                self.count("clock jumps");
            }
            94..=95 if self.may_have_a_night() => self.night(),
            92..=95 => {
                let is_away = self.random.per_mille(500);
                self.broker.set_away(is_away);
                self.count("kafka away");
            }
            96..=97 if self.broker.partitions() < 5 => {
                self.broker.grow();
                self.note("the topic grows");
                self.count("topic grown");
            }
            98 => self.forget()?,
            _ => self.elect(),
        }
        Ok(())
    }

    fn produce(&mut self) {
        self.produce_at_ms = if self.is_calm() {
            u64::MAX
        } else {
            self.now() + self.random.within(100..=2_500)
        };
        let number = self.random.index(self.broker.partitions());
        let records = self.random.within(1..=4);
        self.produce_to(number, records);
    }

    fn produce_to(&mut self, number: usize, records: u64) {
        for _ in 0..records {
            self.records += 1;
            let record = match self.random.within(0..=19) {
                // A marker, or an aborted record.
                0 => None,
                // A tombstone.
                1 => Some(None),
                // No row.
                2 | 3 => Some(Some(format!("{{\"id\":\"{}\"}}", self.records))),
                _ => Some(Some(format!("{{\"id\":{}}}", self.records))),
            };
            self.broker.produce(number, record);
        }
    }

    /// Another replica leads a topic partition: one that has every record, or one that lacks the last ones and goes on from there, now and then past where the last one was.
    fn elect(&mut self) {
        let number = self.random.index(self.broker.partitions());
        if self.random.per_mille(300) {
            self.broker.elect(number);
            self.count("elections");
            return;
        }
        let lost = self.broker.elect_uncleanly(number, 12);
        let more = self.random.within(0..=2 * lost);
        self.produce_to(number, more);
        self.count("unclean elections");
    }

    fn crash(&mut self, index: usize) {
        if !self.maintainers.is_empty() && self.random.per_mille(300) {
            let index = self.random.index(self.maintainers.len());
            self.maintainers[index].kill();
            self.count("maintainers killed");
            return;
        }
        if matches!(self.instances[index].phase, Phase::Dead(_)) {
            return;
        }
        let away_ms = self.random.within(0..=30_000);
        self.note(format_args!(
            "life {} is killed",
            self.instances[index].life
        ));
        self.kill(index, away_ms, false);
        self.count("crashes");
    }

    fn freeze(&mut self, index: usize) {
        let now = self.now();
        // Often past the session's end, now and then past the age of a base.
        let most = [1_000, 12_000, 15_000, 30_000, 200_000][self.random.index(5)];
        let until = now + self.random.within(100..=most);
        let instance = &mut self.instances[index];
        instance.frozen_until_ms = until;
        let life = instance.life;
        self.note(format_args!("life {life} is suspended until {until}"));
        self.count("suspended processes");
    }

    /// The group drops a member that goes on without knowing it.
    fn expel(&mut self, index: usize) {
        let learns_after_ms = self.random.within(0..=60_000);
        let life = self.instances[index].life;
        if matches!(self.instances[index].phase, Phase::Running(_)) {
            self.broker.expel(life, learns_after_ms);
            self.count("zombies");
        }
    }

    fn change_weather(&mut self) {
        let (name, weather) =
            [("storm", STORM), ("drizzle", DRIZZLE), ("sun", SUN)][self.random.index(3)];
        self.note(name);
        self.end.set_weather(weather);
    }

    /// Another engine's checkpoint loses one of our txns: nobody may guess where to go on (OFF-8).
    fn forget(&mut self) -> Result<(), String> {
        let lake = self.some_lake();
        let table = self.lakes[lake].read()?;
        if self.is_forgotten || table.offsets.is_empty() || !self.random.per_mille(300) {
            return Ok(());
        }
        let numbers: Vec<i32> = table.offsets.keys().copied().collect();
        let number = numbers[self.random.index(numbers.len())];
        self.lakes[lake].clean_up(&table, Some(number));
        self.is_forgotten = true;
        self.note(format_args!("another engine forgets the txn of {number}"));
        self.count("txns forgotten");
        Ok(())
    }

    /// The faults have ended: everybody is back.
    fn calm(&mut self) {
        self.happens_at_ms = u64::MAX;
        self.is_mended = true;
        self.note("the faults end");
        self.end.set_weather(SUN);
        self.broker.set_away(false);
        // A truncation behind an idle reader shows with the next record, wherever that reader stands: at most where a log that was lost has ended.
        for (number, lives) in (0..).zip(self.broker.logs().into_values()) {
            let read_to = lives.iter().map(|life| life.end).max().unwrap_or(0);
            let end = lives.last().map_or(0, |life| life.end);
            for _ in end..=read_to {
                self.records += 1;
                let record = format!("{{\"id\":{}}}", self.records);
                self.broker.produce(number, Some(Some(record)));
            }
        }
        let now = self.now();
        for index in 0..self.instances.len() {
            if self.is_behind(index) {
                self.kill(index, 0, false);
            }
        }
        self.lives = self.lives.max(self.all_tables_from);
        for instance in &mut self.instances {
            instance.frozen_until_ms = 0;
            if let Phase::Dead(until) = &mut instance.phase {
                *until = now;
            }
        }
    }
}
