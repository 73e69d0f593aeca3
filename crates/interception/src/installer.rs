//! Bringing the rules onto the host and taking them off again.

use std::io::Write;

use crate::args::{InstallArgs, UninstallArgs};
use crate::config::{Config, parse_duration};
use crate::error::Error;
use crate::executable::{Execution, Iptables};
use crate::host;
use crate::installed::{Installed, has_chain};
use crate::plan::{DOCKER_OUTPUT, plan};
use crate::rule::{Family, RuleSet, Table};
use crate::settings::Settings;

/// What was done, for the user to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Each line is one sentence about what changed.
    pub actions: Vec<String>,
    /// What could not be done but does not stop interception.
    pub warnings: Vec<String>,
}

/// `meshspan install transparent-proxy`: installs the rules, replacing those of an earlier installation, or with `--dry-run` writes
/// them to `out` and changes nothing.
///
/// # Errors
/// Settings that cannot be used, missing privileges or programs, and rules refused by the kernel. After a refusal no rules of ours are
/// left on the host.
pub fn install(args: &InstallArgs, out: &mut dyn Write) -> Result<Report, Error> {
    let settings = args.settings()?;
    let config = configure(&settings)?;
    if settings.dry_run {
        for family in config.ip_family_mode.families() {
            write_out(out, &plan(&config, *family, false).to_string())?;
        }
        return Ok(Report::default());
    }
    host::require_privilege()?;
    host::require_mapped(config.owner)?;
    let mut installer = Installer::new(&settings)?;
    for family in usable_families(&config, &mut installer.report) {
        installer.install(&config, family)?;
    }
    Ok(installer.report)
}

/// `meshspan uninstall transparent-proxy`: removes our chains, our jumps and our rules; everything else stays as it is. With
/// `--dry-run` the transactions are written to `out`.
///
/// # Errors
/// As for [`install`]. Finding nothing to remove is not an error.
pub fn uninstall(args: &UninstallArgs, out: &mut dyn Write) -> Result<Report, Error> {
    let settings = args.install.settings()?;
    host::require_privilege()?;
    // Rules without comments are recognised by the settings they were made from; without a usable configuration (the user may be gone by
    // now) everything that carries our names or comments is still found.
    let config = configure(&settings).ok();
    let mut installer = Installer::new(&settings)?;
    for family in [Family::Ipv4, Family::Ipv6] {
        let variants = match Iptables::find(family) {
            Ok(variants) => variants,
            Err(_) if family == Family::Ipv6 => continue,
            Err(error) => return Err(error),
        };
        for (iptables, saved) in variants {
            let rules = config.as_ref().map_or_else(
                || RuleSet {
                    family,
                    tables: Vec::new(),
                },
                |config| plan(config, family, has_chain(&saved, DOCKER_OUTPUT)),
            );
            for table in Table::ALL {
                let installed = Installed::find(&saved, table, &rules);
                if installed.is_empty() {
                    continue;
                }
                let transaction = installed.removal(table);
                if settings.dry_run {
                    write_out(out, &format!("# {}\n{transaction}", family.name()))?;
                } else {
                    installer.run(&iptables, table, &transaction)?;
                    installer.did(format!("removed {} {} rules", family.name(), table.name()));
                }
            }
        }
    }
    Ok(installer.report)
}

fn configure(settings: &Settings) -> Result<Config, Error> {
    let dns = &settings.redirect.dns;
    let name_servers = if dns.enabled && !dns.capture_all {
        host::name_servers(&host::read_text(dns.resolv_config_path.as_ref())?)
    } else {
        Vec::new()
    };
    Config::new(settings, host::owner(settings)?, &name_servers)
}

fn usable_families(config: &Config, report: &mut Report) -> Vec<Family> {
    let families = config.ip_family_mode.families();
    let mut usable = families.to_vec();
    if families.contains(&Family::Ipv6) && families.len() > 1 && !host::has_ipv6() {
        usable.retain(|family| *family == Family::Ipv4);
        report
            .warnings
            .push("this host has no IPv6: only IPv4 traffic is intercepted".to_owned());
    }
    usable
}

fn write_out(out: &mut dyn Write, text: &str) -> Result<(), Error> {
    out.write_all(text.as_bytes()).map_err(|source| Error::Run {
        program: "the output of the dry run".to_owned(),
        source,
    })
}

struct Installer {
    execution: Execution,
    verbose: bool,
    report: Report,
}

impl Installer {
    fn new(settings: &Settings) -> Result<Self, Error> {
        Ok(Self {
            execution: Execution {
                wait: settings.wait,
                wait_interval: settings.wait_interval,
                max_retries: settings.retry.max_retries,
                sleep: parse_duration("retry.sleepBetweenRetries", &settings.retry.sleep_between_retries)?,
            },
            verbose: settings.verbose,
            report: Report::default(),
        })
    }

    fn did(&mut self, action: String) {
        self.report.actions.push(action);
    }

    fn run(&mut self, iptables: &Iptables, table: Table, transaction: &str) -> Result<(), Error> {
        if self.verbose {
            self.did(format!("{} reads:\n{transaction}", iptables.restore_program()));
        }
        iptables.restore(table, transaction, &self.execution)
    }

    fn install(&mut self, config: &Config, family: Family) -> Result<(), Error> {
        let mut variants = Iptables::find(family)?.into_iter();
        let Some((iptables, saved)) = variants.next() else {
            return Ok(());
        };
        let mut rules = plan(config, family, has_chain(&saved, DOCKER_OUTPUT));
        let mut result = self.replace_all(&iptables, &saved, &rules);
        if let Err(Error::Refused { stderr, .. }) = &result
            && config.comments
            && stderr.contains("comment")
        {
            self.report.warnings.push(format!(
                "{}: this kernel has no comment match, the rules carry no comments; pass the same flags to uninstall",
                family.name()
            ));
            rules = rules.without_comments();
            result = self.replace_all(&iptables, &saved, &rules);
        }
        if result.is_err() {
            self.remove_all(&iptables, &rules);
        }
        result
    }

    /// One transaction per table: iptables commits tables one by one in any case.
    fn replace_all(&mut self, iptables: &Iptables, saved: &str, rules: &RuleSet) -> Result<(), Error> {
        for table in Table::ALL {
            let installed = Installed::find(saved, table, rules);
            let new = rules.tables.iter().find(|rules| rules.table == table);
            let transaction = match new {
                Some(new) => installed.replacement(new),
                None if installed.is_empty() => continue,
                None => installed.removal(table),
            };
            match self.run(iptables, table, &transaction) {
                Ok(()) if new.is_some() => {
                    let action = format!("installed {} {} rules", rules.family.name(), table.name());
                    self.did(format!("{action} with {}", iptables.restore_program()));
                }
                Ok(()) => {}
                // Without zones a query and the answer to it can share a conntrack entry when application and agent use the same
                // port by chance: rare, and better than no interception.
                Err(Error::Refused { stderr, .. }) if table == Table::Raw => {
                    self.report.warnings.push(format!(
                        "{}: conntrack zones for DNS are not available here and were left out: {stderr}",
                        rules.family.name()
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Leaves nothing half installed. The error that led here is the one to report, so failures are only warned about.
    fn remove_all(&mut self, iptables: &Iptables, rules: &RuleSet) {
        let Ok(saved) = iptables.save() else {
            return;
        };
        for table in Table::ALL {
            let installed = Installed::find(&saved, table, rules);
            if !installed.is_empty()
                && let Err(error) = self.run(iptables, table, &installed.removal(table))
            {
                self.report.warnings.push(error.to_string());
            }
        }
    }
}
