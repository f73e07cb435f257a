//! Whose cosignatures are enough (c2sp.org/tlog-policy): logs, witnesses, groups of them, and the quorum.
//!
//! The same file tells rota which witnesses to ask, by their URLs, and an auditor when to believe a checkpoint.

use std::collections::HashMap;
use std::str::FromStr;

use super::note::{SignedNote, VerifierKey};

/// A policy has at most this many bytes.
pub const POLICY_BYTES_MAX: usize = 64 * 1_024;
/// It names at most so many logs, witnesses and groups each.
const NAMED_MAX: usize = 64;

/// A line of a policy that can't be followed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line} of the policy: {what}")]
pub struct PolicyError {
    /// Which, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// A witness.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Witness {
    /// What the policy calls it.
    pub name: String,
    /// The key that its cosignatures are checked with.
    pub key: VerifierKey,
    /// Below which URL it takes checkpoints.
    pub url: Option<String>,
}

/// A witness or a group, by its index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Group {
    line: String,
    needed: usize,
    members: Vec<Member>,
}

/// Whose signatures are enough.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The keys of logs; none where they are known from elsewhere.
    pub logs: Vec<VerifierKey>,
    /// The witnesses, in order.
    pub witnesses: Vec<Witness>,
    groups: Vec<Group>,
    /// `None`: no cosignature is needed.
    quorum: Option<Member>,
}

impl Policy {
    /// The witnesses that cosigned a note, by their index, and when: in seconds since 1970. One whose cosignature does
    /// not fit counts as one that has not.
    pub fn cosigned(&self, note: &SignedNote) -> Vec<(usize, u64)> {
        let times = self.witnesses.iter().map(|witness| note.check(&witness.key).ok().flatten());
        times.enumerate().filter_map(|(index, time)| Some((index, time?))).collect()
    }

    /// Whether enough witnesses cosigned a note. The log's own signature is another question.
    pub fn is_satisfied(&self, note: &SignedNote) -> bool {
        let mut witnessed = vec![false; self.witnesses.len()];
        for (index, _) in self.cosigned(note) {
            witnessed[index] = true;
        }
        self.quorum.is_none_or(|quorum| self.holds(quorum, &witnessed))
    }

    fn holds(&self, member: Member, witnessed: &[bool]) -> bool {
        match member {
            Member::Witness(index) => witnessed[index],
            // A group is of what stands above it, and so this ends.
            Member::Group(index) => {
                let group = &self.groups[index];
                let held = group.members.iter().filter(|member| self.holds(**member, witnessed)).count();
                held >= group.needed
            }
        }
    }

    /// The policy as somebody needs it who checks checkpoints of a log with these keys: without URLs.
    pub fn text_for(&self, logs: &[String]) -> String {
        let mut lines: Vec<String> = logs.iter().map(|key| format!("log {key}")).collect();
        lines
            .extend(self.witnesses.iter().map(|witness| format!("witness {} {}", witness.name, witness.key)));
        lines.extend(self.groups.iter().map(|group| group.line.clone()));
        lines.push(format!("quorum {}", self.quorum_name()));
        lines.join("\n") + "\n"
    }

    /// What the quorum is called.
    pub fn quorum_name(&self) -> &str {
        match self.quorum {
            None => "none",
            Some(Member::Witness(index)) => &self.witnesses[index].name,
            Some(Member::Group(index)) => {
                self.groups[index].line.split_whitespace().nth(1).unwrap_or_default()
            }
        }
    }
}

/// What is read of a policy so far.
#[derive(Default)]
struct Reading {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    names: HashMap<String, Member>,
    /// Names that are a member of a group already.
    taken: Vec<String>,
    quorum: Option<Quorum>,
}

/// What is said of the quorum.
struct Quorum(Option<Member>);

impl Reading {
    fn name(&mut self, name: &str, member: Member) -> Result<(), &'static str> {
        if name == "none" {
            return Err("`none` names no witness and no group");
        }
        match self.names.insert(name.to_owned(), member) {
            None => Ok(()),
            Some(_) => Err("the name stands for something above already"),
        }
    }

    fn line(&mut self, words: &[&str]) -> Result<(), &'static str> {
        const KEY: &str = "not a verifier key, such as NAME+HEX+BASE64";
        match *words {
            ["log", key] | ["log", key, _] => {
                let key: VerifierKey = key.parse().map_err(|_| KEY)?;
                if key.is_witness() {
                    return Err("this key cosigns, and signs for no log");
                }
                if self.logs.len() == NAMED_MAX || self.logs.iter().any(|known| known.is_same_key(&key)) {
                    return Err("this key stands above already, or there are too many");
                }
                self.logs.push(key);
            }
            ["witness", name, key] | ["witness", name, key, _] => {
                let key: VerifierKey = key.parse().map_err(|_| KEY)?;
                if !key.is_witness() {
                    return Err("this key is no witness's: its type must be that of cosignatures (04)");
                }
                let known = |witness: &Witness| witness.key.is_same_key(&key);
                if self.witnesses.len() == NAMED_MAX || self.witnesses.iter().any(known) {
                    return Err("this key stands above already, or there are too many");
                }
                self.name(name, Member::Witness(self.witnesses.len()))?;
                let url = words.get(3).map(|url| (*url).trim_end_matches('/').to_owned());
                self.witnesses.push(Witness { name: name.to_owned(), key, url });
            }
            ["group", name, needed, ref names @ ..] if !names.is_empty() => {
                let mut members = Vec::new();
                for member in names {
                    if self.taken.iter().any(|taken| taken == member) {
                        return Err("each name can be in one group only");
                    }
                    members.push(*self.names.get(*member).ok_or("a name that does not stand above")?);
                    self.taken.push((*member).to_owned());
                }
                let needed = match needed {
                    "any" => 1,
                    "all" => members.len(),
                    number => number.parse().ok().filter(|n| (1..=members.len()).contains(n)).ok_or(
                        "how many are needed is `any`, `all`, or a number from 1 to that of the names",
                    )?,
                };
                if self.groups.len() == NAMED_MAX {
                    return Err("there are too many groups");
                }
                self.name(name, Member::Group(self.groups.len()))?;
                self.groups.push(Group { line: words.join(" "), needed, members });
            }
            ["quorum", name] => {
                if self.quorum.is_some() {
                    return Err("there is a quorum above already");
                }
                let quorum = if name == "none" {
                    None
                } else {
                    Some(*self.names.get(name).ok_or("a name that does not stand above")?)
                };
                self.quorum = Some(Quorum(quorum));
            }
            _ => {
                return Err(
                    "must be `log KEY`, `witness NAME KEY URL`, `group NAME any|all|N NAMES…` or `quorum NAME`",
                );
            }
        }
        Ok(())
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let wrong = |line, what| PolicyError { line, what };
        if text.len() > POLICY_BYTES_MAX {
            return Err(wrong(1, "it is too long"));
        }
        let mut reading = Reading::default();
        for (number, line) in (1..).zip(text.split('\n')) {
            if line.contains(|c: char| c.is_ascii_control() && c != '\t') {
                return Err(wrong(number, "there is a control character in it"));
            }
            let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
            if words.first().is_none_or(|word| word.starts_with('#')) {
                continue;
            }
            reading.line(&words).map_err(|what| wrong(number, what))?;
        }
        let Reading { logs, witnesses, groups, quorum, .. } = reading;
        let missing = || wrong(text.split('\n').count(), "there is no quorum: `quorum NAME`");
        let Quorum(quorum) = quorum.ok_or_else(missing)?;
        Ok(Self { logs, witnesses, groups, quorum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::note::SigningKey;

    fn witness(seed: u8) -> SigningKey {
        SigningKey::of_witness(&format!("w{seed}.example"), &[seed; 32]).unwrap()
    }

    fn policy(rest: &str) -> Result<Policy, PolicyError> {
        let mut lines = vec!["# those whom we trust".to_owned()];
        for seed in 1..=5 {
            let key = witness(seed).verifier().to_string();
            lines.push(format!("witness W{seed} \t {key} https://w{seed}.example/"));
        }
        lines.push(rest.to_owned());
        lines.join("\n").parse()
    }

    fn note(by: &[u8]) -> SignedNote {
        let text = "log.example\n1\nAAAA\n";
        let log = SigningKey::of_log("log.example", &[9; 32]).unwrap();
        let lines: String = by.iter().map(|seed| witness(*seed).cosign(text, 1_800_000_000)).collect();
        SignedNote::parse(&format!("{text}\n{}{lines}", log.sign(text))).unwrap()
    }

    #[test]
    fn a_quorum_of_groups_holds_when_enough_of_each_cosigned() {
        let policy = policy("group A 2 W1 W2 W3\ngroup B any W4 W5\n\ngroup Q all A B\nquorum Q\n").unwrap();
        assert_eq!(policy.witnesses[0].url.as_deref(), Some("https://w1.example"));
        for (by, satisfied) in [
            (&[1, 2, 4][..], true),
            (&[2, 3, 5], true),
            (&[1, 2, 3, 4, 5], true),
            (&[1, 2, 3], false),
            (&[1, 4, 5], false),
            (&[], false),
        ] {
            assert_eq!(policy.is_satisfied(&note(by)), satisfied, "{by:?}");
            let counted: Vec<_> =
                policy.cosigned(&note(by)).iter().map(|(index, _)| *index as u8 + 1).collect();
            assert_eq!(counted, by);
        }
        // What is given to auditors means the same.
        let given: Policy = policy.text_for(&[]).parse().unwrap();
        assert!(given.is_satisfied(&note(&[1, 2, 4])) && !given.is_satisfied(&note(&[1, 2, 3])));
        assert_eq!(given.witnesses[0].url, None);
    }

    #[test]
    fn the_quorum_may_be_one_witness_or_none() {
        assert!(policy("quorum W2\n").unwrap().is_satisfied(&note(&[2])));
        assert!(!policy("quorum W2\n").unwrap().is_satisfied(&note(&[1])));
        assert!(policy("quorum none").unwrap().is_satisfied(&note(&[])));
    }

    #[test]
    fn other_lines_are_refused_by_their_number() {
        let twice = format!("witness W6 {}\nquorum none\n", witness(1).verifier());
        let log = SigningKey::of_log("log.example", &[9; 32]).unwrap();
        let no_witness = format!("witness W6 {}\nquorum none\n", log.verifier());
        for (rest, line) in [
            ("", 7),
            ("quorum W6\n", 7),
            ("quorum W1\nquorum W1\n", 8),
            ("group none any W1\nquorum none\n", 7),
            ("group G 0 W1\nquorum G\n", 7),
            ("group G 3 W1 W2\nquorum G\n", 7),
            ("group G all\nquorum G\n", 7),
            ("group G all W1 W1\nquorum G\n", 7),
            ("group G all W1\ngroup H all W1\nquorum G\n", 8),
            ("group W1 all W2\nquorum W1\n", 7),
            ("quorum W1 \u{1}\n", 7),
            ("witness W6 nothing\nquorum none\n", 7),
            (&twice, 7),
            (&no_witness, 7),
            ("something else\nquorum none\n", 7),
        ] {
            assert_eq!(policy(rest).map_err(|error| error.line), Err(line), "{rest}");
        }
    }
}
