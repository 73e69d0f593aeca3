//! How parts of services are written, in tables and in full.

use std::io::{self, Write};

use meshspan_model::kinds::mesh_service::{Address, Condition, DataplaneProxies, HostnameGeneratorStatus, Vip};

use crate::table::{Table, shown};

/// `6379/tcp`, or `redis:6379/tcp` for a port with a name.
pub(super) fn port(name: &str, number: u32, protocol: &str) -> String {
    let protocol = if protocol.is_empty() { "tcp" } else { protocol };
    match name {
        "" => format!("{number}/{protocol}"),
        name => format!("{name}:{number}/{protocol}"),
    }
}

pub(super) fn hostnames(addresses: &[Address]) -> String {
    addresses
        .iter()
        .map(|address| address.hostname.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn vips(vips: &[Vip]) -> String {
    vips.iter().map(|vip| vip.ip.as_str()).collect::<Vec<_>>().join(", ")
}

/// `healthy/total`; empty where this control plane does not know the proxies because they are in another zone.
pub(super) fn proxies(proxies: &DataplaneProxies) -> String {
    match proxies.total {
        0 => String::new(),
        total => format!("{}/{total}", proxies.healthy),
    }
}

/// Conditions that are not met: their type says what should be true (DESIGN §4), so `False` and `Unknown` are problems.
pub(super) fn problems(conditions: &[Condition]) -> impl Iterator<Item = &Condition> {
    conditions.iter().filter(|condition| condition.status != "True")
}

/// Hostnames that a generator could not give, as problems of the service.
pub(super) fn generator_problems(generators: &[HostnameGeneratorStatus]) -> impl Iterator<Item = (&str, &Condition)> {
    generators.iter().flat_map(|generator| {
        let name = generator.hostname_generator_ref.core_name.as_str();
        problems(&generator.conditions).map(move |condition| (name, condition))
    })
}

/// The sentences below a table: each problem of `service` with its remedy.
pub(super) fn notes(service: &str, conditions: &[Condition], generators: &[HostnameGeneratorStatus]) -> Vec<String> {
    let own = problems(conditions).map(|problem| format!("{service}: {}: {}", problem.reason, problem.message));
    let generated = generator_problems(generators).map(|(name, problem)| {
        format!(
            "{service}: hostname generator {name}: {}: {}",
            problem.reason, problem.message
        )
    });
    own.chain(generated).collect()
}

/// Writes notes below a table, if there are any.
pub(super) fn write_notes(out: &mut dyn Write, notes: &[String]) -> io::Result<()> {
    if !notes.is_empty() {
        writeln!(out)?;
    }
    notes.iter().try_for_each(|note| writeln!(out, "{}", shown(note)))
}

/// `Title:   value` lines with aligned values; empty values are `-`.
pub(super) fn write_fields(out: &mut dyn Write, fields: &[(&str, String)]) -> io::Result<()> {
    let width = fields.iter().map(|(title, _)| title.len()).max().unwrap_or_default() + 1;
    for (title, value) in fields {
        let value = shown(value);
        writeln!(out, "{:width$}   {value}", format!("{title}:"))?;
    }
    Ok(())
}

/// A titled table, or the title with `none`.
pub(super) fn write_section(out: &mut dyn Write, title: &str, table: &Table) -> io::Result<()> {
    if table.is_empty() {
        return writeln!(out, "{title}: none");
    }
    writeln!(out, "{title}:")?;
    table.write(out, "  ")
}

/// The conditions of a service and of its hostname generators.
pub(super) fn conditions_table(conditions: &[Condition], generators: &[HostnameGeneratorStatus]) -> Table {
    let mut table = Table::new(["TYPE", "STATUS", "REASON", "MESSAGE"]);
    let row = |condition: &Condition, prefix: &str| {
        vec![
            format!("{prefix}{}", condition.condition_type),
            condition.status.clone(),
            condition.reason.clone(),
            condition.message.clone(),
        ]
    };
    for condition in conditions {
        table.add(row(condition, ""));
    }
    for (name, condition) in generator_problems(generators) {
        table.add(row(condition, &format!("{name}/")));
    }
    table
}
