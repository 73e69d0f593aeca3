//! Bringing the rules onto the host and taking them off again: all of them or none, one process at a time.

use std::io::Write;

use crate::args::{InstallArgs, UninstallArgs};
use crate::config::{Config, IpFamilyMode, parse_duration};
use crate::environment;
use crate::error::Error;
use crate::executable::{Execution, Iptables};
use crate::host;
use crate::installed::Installed;
use crate::plan::plan;
use crate::rule::{Family, RuleSet, Table};
use crate::settings::Settings;

/// What was done, for the user to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Each line is one sentence about what changed.
    pub actions: Vec<String>,
    /// What could not be done but does not stop interception, and what may surprise.
    pub warnings: Vec<String>,
}

/// `meshspan install transparent-proxy`: installs the rules, replacing those of an earlier installation, or with `--dry-run` writes
/// them to `out` and changes nothing.
///
/// # Errors
/// Settings that cannot be used, missing privileges or programs, and rules refused by the kernel. After an error the rules of the host are
/// what they were, unless it is [`Error::NotUndone`].
pub fn install(args: &InstallArgs, out: &mut dyn Write) -> Result<Report, Error> {
    let settings = args.settings()?;
    let config = configure(&settings)?;
    let execution = execution(&settings)?;
    let mut report = unknown_variables()?;
    let families = usable_families(&config, &mut report);
    report
        .warnings
        .extend(config.warnings(&families, host::port_of_ssh_session()));
    if !host::has_route_to_virtual_ips() {
        report.warnings.push(
            "this host has no route to the addresses of services, because it has no default route: connections to them fail with \
             \"Network is unreachable\" before any rule sees them; add one, for example `ip route add 240.0.0.0/4 dev eth0` (an interface to other hosts, not lo)"
                .to_owned(),
        );
    }
    if settings.dry_run {
        for family in config.ip_family_mode.families() {
            write_out(out, &plan(&config, *family).to_string())?;
        }
        return Ok(report);
    }
    host::require_privilege()?;
    host::require_mapped(config.owner)?;
    let _lock = lock(&mut report)?;
    let changes = changes_to_install(&config, &families, &mut report)?;
    let applied = match apply(&changes, &execution, settings.verbose) {
        Err(Error::Refused { stderr, .. }) if config.comments && stderr.contains("comment") => {
            report.warnings.push(
                "this kernel has no comment match, the rules carry no comments; pass the same flags to uninstall"
                    .to_owned(),
            );
            let changes: Vec<Change> = changes.into_iter().map(Change::without_comments).collect();
            apply(&changes, &execution, settings.verbose)?
        }
        other => other?,
    };
    report.actions.extend(applied.actions);
    report.warnings.extend(applied.warnings);
    Ok(report)
}

/// `meshspan uninstall transparent-proxy`: removes our chains, our jumps and our rules; everything else stays as it is. With
/// `--dry-run` the transactions are written to `out`.
///
/// # Errors
/// As for [`install`]. Finding nothing to remove is not an error.
pub fn uninstall(args: &UninstallArgs, out: &mut dyn Write) -> Result<Report, Error> {
    let settings = args.install.settings()?;
    let execution = execution(&settings)?;
    host::require_privilege()?;
    // Rules without comments are recognised by the settings they were made from; without a usable configuration (the user may be gone by
    // now) everything that carries our names or comments is still found.
    let config = configure(&settings).ok();
    let mut report = unknown_variables()?;
    let _lock = lock(&mut report)?;
    let mut changes = Vec::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        let variants = match Iptables::find(family) {
            Ok(variants) => variants,
            Err(_) if family == Family::Ipv6 => continue,
            Err(error) => return Err(error),
        };
        let old = config
            .as_ref()
            .map_or_else(|| nothing(family), |config| plan(config, family));
        changes.extend(variants.into_iter().map(|(iptables, saved)| Change {
            iptables,
            saved,
            old: old.clone(),
            new: nothing(family),
        }));
    }
    if settings.dry_run {
        for change in &changes {
            for transaction in Table::ALL.into_iter().filter_map(|table| change.transaction(table)) {
                write_out(out, &format!("# {}\n{transaction}", change.old.family.name()))?;
            }
        }
        return Ok(report);
    }
    let applied = apply(&changes, &execution, settings.verbose)?;
    report.actions.extend(applied.actions);
    report.warnings.extend(applied.warnings);
    if report.actions.is_empty() {
        report
            .actions
            .push("there are no rules of an installation to remove".to_owned());
    }
    Ok(report)
}

fn unknown_variables() -> Result<Report, Error> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    Ok(Report {
        actions: Vec::new(),
        warnings: environment::unknown(names)?,
    })
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

fn execution(settings: &Settings) -> Result<Execution, Error> {
    Ok(Execution {
        wait: settings.wait,
        wait_interval: settings.wait_interval,
        max_retries: settings.retry.max_retries,
        sleep: parse_duration("retry.sleepBetweenRetries", &settings.retry.sleep_between_retries)?,
    })
}

fn lock(report: &mut Report) -> Result<Option<std::fs::File>, Error> {
    let lock = host::lock()?;
    if lock.is_none() {
        report.warnings.push(
            "nothing can be written to /run, so this cannot be guarded against another installation at the same time"
                .to_owned(),
        );
    }
    Ok(lock)
}

fn usable_families(config: &Config, report: &mut Report) -> Vec<Family> {
    let mut usable = config.ip_family_mode.families().to_vec();
    if config.ip_family_mode == IpFamilyMode::DualStack && !host::has_ipv6() {
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

fn nothing(family: Family) -> RuleSet {
    RuleSet {
        family,
        tables: Vec::new(),
    }
}

/// What one variant of iptables is to hold in place of what it holds.
struct Change {
    iptables: Iptables,
    /// All that it holds.
    saved: String,
    /// Tells what of it is ours where there are no comments.
    old: RuleSet,
    new: RuleSet,
}

impl Change {
    fn without_comments(self) -> Self {
        Self {
            new: self.new.without_comments(),
            ..self
        }
    }

    fn installed(&self, table: Table) -> Installed {
        Installed::find(&self.saved, table, &self.old)
    }

    /// What `table` needs, `None` if nothing.
    fn transaction(&self, table: Table) -> Option<String> {
        let installed = self.installed(table);
        match self.new.tables.iter().find(|rules| rules.table == table) {
            Some(new) => Some(installed.replacement(new)),
            None => (!installed.is_empty()).then(|| installed.removal(table)),
        }
    }

    /// Puts back what `table` held.
    fn undo(&self, table: Table, execution: &Execution) -> Result<(), Error> {
        let now = Installed::find(&self.iptables.save()?, table, &self.new);
        let transaction = now.restoration(table, &self.installed(table));
        self.iptables.restore(table, &transaction, execution)
    }
}

/// The rules go to the best variant of each family; what other variants hold, and what another family has of an earlier installation, goes.
fn changes_to_install(config: &Config, families: &[Family], report: &mut Report) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        let wanted = families.contains(&family);
        let variants = match Iptables::find(family) {
            Ok(variants) => variants,
            Err(_) if !wanted => continue,
            Err(error @ Error::NoIptables { .. })
                if family == Family::Ipv6 && config.ip_family_mode == IpFamilyMode::DualStack =>
            {
                report.warnings.push(format!(
                    "IPv6 traffic is not intercepted and passes by Envoy: {error} (--ip-family-mode ipv4 says that this is meant)"
                ));
                continue;
            }
            Err(error) => return Err(error),
        };
        let old = plan(config, family);
        for (position, (iptables, saved)) in variants.into_iter().enumerate() {
            let new = if wanted && position == 0 {
                old.clone()
            } else {
                nothing(family)
            };
            changes.push(Change {
                iptables,
                saved,
                old: old.clone(),
                new,
            });
        }
    }
    Ok(changes)
}

/// Makes all changes or none. iptables commits one table after the other, so after a refusal those that are done are undone.
fn apply(changes: &[Change], execution: &Execution, verbose: bool) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut done: Vec<(&Change, Table)> = Vec::new();
    for change in changes {
        for table in Table::ALL {
            let Some(transaction) = change.transaction(table) else {
                continue;
            };
            if verbose {
                let program = change.iptables.restore_program();
                report.actions.push(format!("{program} reads:\n{transaction}"));
            }
            match change.iptables.restore(table, &transaction, execution) {
                Ok(()) => done.push((change, table)),
                // Without zones a query and the answer to it can share a conntrack entry when application and agent use the same
                // port by chance: rare, and better than no interception.
                Err(Error::Refused { stderr, .. }) if table == Table::Raw && !change.new.tables.is_empty() => {
                    report.warnings.push(format!(
                        "{}: conntrack zones for DNS are not available here and were left out: {stderr}",
                        change.new.family.name()
                    ));
                    let installed = change.installed(table);
                    if !installed.is_empty() {
                        match change.iptables.restore(table, &installed.removal(table), execution) {
                            Ok(()) => done.push((change, table)),
                            Err(error) => return Err(undo(&done, execution, error)),
                        }
                    }
                }
                Err(error) => return Err(undo(&done, execution, error)),
            }
        }
    }
    report.actions.extend(done.iter().map(|(change, table)| {
        let rules = format!("{} {} rules", change.new.family.name(), table.name());
        let program = change.iptables.restore_program();
        if change.new.tables.iter().any(|new| new.table == *table) {
            format!("installed {rules} with {program}")
        } else {
            format!("removed {rules} with {program}")
        }
    }));
    Ok(report)
}

/// Puts back what was there, the last change first. Returns the error that led here, with what could not be put back.
fn undo(done: &[(&Change, Table)], execution: &Execution, refused: Error) -> Error {
    let failures: Vec<String> = done
        .iter()
        .rev()
        .filter_map(|(change, table)| change.undo(*table, execution).err())
        .map(|error| error.to_string())
        .collect();
    if failures.is_empty() {
        refused
    } else {
        Error::NotUndone {
            refused: Box::new(refused),
            reason: failures.join("; "),
        }
    }
}
