//! The iptables programs of this host, and running them.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::installed::count_rules;
use crate::rule::{CHAIN_PREFIX, Family, Table};

/// Longest error output that is kept, in characters.
const MAX_STDERR: usize = 2000;

/// One variant of iptables for one IP family.
#[derive(Debug, Clone)]
pub struct Iptables {
    save: String,
    restore: String,
}

/// How the restore program is called.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Seconds to wait for the lock.
    pub wait: u32,
    /// Microseconds between attempts to take it; 0 leaves it to the program.
    pub wait_interval: u32,
    /// Attempts after the first, when the host was busy.
    pub max_retries: u32,
    /// Pause between them.
    pub sleep: Duration,
}

impl Iptables {
    /// The variants to look for, best first.
    fn candidates(family: Family) -> [Self; 3] {
        let base = program(family);
        ["-nft", "-legacy", ""].map(|variant| Self {
            save: format!("{base}{variant}-save"),
            restore: format!("{base}{variant}-restore"),
        })
    }

    /// The variants that work here, each with the rules that it holds. The best one comes first: the one that has rules of ours, else
    /// the one that has most rules, else nft.
    ///
    /// # Errors
    /// [`Error::NoIptables`] if none works.
    pub fn find(family: Family) -> Result<Vec<(Self, String)>, Error> {
        let mut found: Vec<(Self, String)> = Vec::new();
        let mut detail = String::new();
        for candidate in Self::candidates(family) {
            // The plain name is a link to one of the variants; it matters only where there are no variants.
            if candidate.restore == format!("{}-restore", program(family)) && !found.is_empty() {
                continue;
            }
            match candidate.save() {
                Ok(saved) => found.push((candidate, saved)),
                Err(Error::Run { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => detail.push_str(&format!("; {error}")),
            }
        }
        if found.is_empty() {
            let program = program(family);
            return Err(Error::NoIptables { program, detail });
        }
        // A stable sort: among equals nft stays first.
        found.sort_by_key(|(_, saved)| std::cmp::Reverse((saved.contains(CHAIN_PREFIX), count_rules(saved))));
        Ok(found)
    }

    /// All rules, as text.
    pub fn save(&self) -> Result<String, Error> {
        let output = Command::new(&self.save)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::Run {
                program: self.save.clone(),
                source,
            })?;
        if !output.status.success() {
            return Err(Error::Refused {
                program: self.save.clone(),
                table: "existing",
                stderr: error_text(&output),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Executes one transaction on `table`, again if another process holds the lock.
    pub fn restore(&self, table: Table, text: &str, how: &Execution) -> Result<(), Error> {
        let mut attempt = 0;
        loop {
            let output = self.run_restore(text, how).map_err(|source| Error::Run {
                program: self.restore.clone(),
                source,
            })?;
            if output.status.success() {
                return Ok(());
            }
            let stderr = error_text(&output);
            if attempt >= how.max_retries || !is_transient(&stderr) {
                return Err(Error::Refused {
                    program: self.restore.clone(),
                    table: table.name(),
                    stderr,
                });
            }
            attempt += 1;
            thread::sleep(how.sleep);
        }
    }

    /// The program that [`Iptables::restore`] runs.
    pub fn restore_program(&self) -> &str {
        &self.restore
    }

    fn run_restore(&self, text: &str, how: &Execution) -> io::Result<Output> {
        let mut command = Command::new(&self.restore);
        command.arg("--noflush");
        if how.wait == 0 {
            command.arg("--wait");
        } else {
            command.arg(format!("--wait={}", how.wait));
        }
        if how.wait_interval != 0 {
            command.arg(format!("--wait-interval={}", how.wait_interval));
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that fails early closes its input; its exit code and words say more than the broken pipe.
            let _ = stdin.write_all(text.as_bytes());
        }
        child.wait_with_output()
    }
}

fn program(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "iptables",
        Family::Ipv6 => "ip6tables",
    }
}

/// Whether another process was in the way.
fn is_transient(stderr: &str) -> bool {
    ["xtables lock", "temporarily unavailable"]
        .iter()
        .any(|text| stderr.contains(text))
}

fn error_text(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let text: String = text.trim().chars().take(MAX_STDERR).collect();
    if text.is_empty() {
        output.status.to_string()
    } else {
        text
    }
}
