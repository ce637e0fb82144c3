//! What an error asks of the person who reads it. Owns the five kinds and their exit codes; each module owns its own error enum.

/// Says what to do about an error; every module's error answers with one of these from `kind()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The request or the config is wrong: change it.
    Invalid,
    /// Something outside (broker, registry, store) does not answer or refuses: wait or mend it.
    Unavailable,
    /// Another owner has the right to commit: step back.
    Superseded,
    /// Data at rest contradicts itself or us (table, file, a suspended table): a person must look.
    Corrupt,
    /// Our own mistake: report it.
    Bug,
}

impl Kind {
    /// The process exit code of CONTRACT.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Invalid => 2,
            Kind::Unavailable => 3,
            Kind::Superseded => 4,
            Kind::Corrupt => 5,
            Kind::Bug => 70,
        }
    }

    /// The name used in logs, metrics and the error reference.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::Unavailable => "unavailable",
            Kind::Superseded => "superseded",
            Kind::Corrupt => "corrupt",
            Kind::Bug => "bug",
        }
    }
}
