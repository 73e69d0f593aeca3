//! `inspect dataplane NAME --type policies|rules`: which policies apply to a proxy, and what they say together.

use std::collections::BTreeMap;
use std::io::Write;

use meshspan_model::{Kind, labels};
use serde_json::Value;

use super::policy::notes;
use super::service_text::{write_notes, write_section};
use super::{label, text};
use crate::get::display_name;
use crate::table::Table;

/// The policies that apply to a proxy, and, if that was asked, everything that is said of traffic to a destination.
pub(super) fn write_policies(answer: &Value, out: &mut dyn Write) -> anyhow::Result<()> {
    let outbounds = list(answer, "outbounds");
    if answer.get("outbounds").is_none() {
        write_matched(answer, out)?;
    }
    for (index, outbound) in outbounds.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        write_outbound(outbound, out)?;
    }
    write_notes(out, &notes(answer, ""))?;
    Ok(())
}

fn write_matched(answer: &Value, out: &mut dyn Write) -> anyhow::Result<()> {
    let matched = list(answer, "matched");
    if matched.is_empty() {
        writeln!(out, "No policy applies to this proxy.")?;
        return Ok(());
    }
    let mut table = Table::new(["POLICY", "NAME", "ZONE", "ROLE", "APPLIES TO"]);
    for policy in matched {
        let parts: Vec<&str> = list(policy, "appliesTo").iter().filter_map(Value::as_str).collect();
        let shadow = match policy.get("shadow") {
            Some(Value::Bool(true)) => " (shadow)",
            _ => "",
        };
        table.add(vec![
            text(policy, "type"),
            format!("{}{shadow}", display_name(policy)),
            label(policy, labels::ZONE),
            text(policy, "role"),
            parts.join(", "),
        ]);
    }
    table.write(out, "")?;
    Ok(())
}

/// Each field with the item that decided it.
fn write_outbound(outbound: &Value, out: &mut dyn Write) -> anyhow::Result<()> {
    let empty = Value::Null;
    let resource = outbound.get("resource").unwrap_or(&empty);
    let (kind, name) = (text(resource, "type"), display_name(resource));
    let port = outbound.get("port").map(Value::to_string).unwrap_or_default();
    let zone = match label(resource, labels::ZONE) {
        zone if kind == Kind::MeshService.name() && !zone.is_empty() => format!(" of zone {zone}"),
        _ => String::new(),
    };
    let mut table = Table::new(["POLICY", "FIELD", "VALUE", "DECIDED BY"]);
    for policy in list(outbound, "policies") {
        let conf = policy.pointer("/conf/0").unwrap_or(&empty);
        let decided = policy.get("decidedBy").and_then(Value::as_object);
        for (pointer, origin) in decided.into_iter().flatten() {
            table.add(vec![
                text(policy, "kind"),
                dotted(pointer),
                conf.pointer(pointer).map(plain).unwrap_or_default(),
                place(origin),
            ]);
        }
    }
    write_section(out, &format!("Traffic to {kind} {name}{zone}, port {port}"), &table)?;
    let mut routes = Table::new(["ROUTE", "MATCHES", "GOES TO", "DECIDED BY"]);
    for route in list(outbound, "routes") {
        for rule in list(route, "rules") {
            let backends = rule.pointer("/conf/backendRefs").and_then(Value::as_array);
            let backends: Vec<String> = backends.into_iter().flatten().map(backend).collect();
            routes.add(vec![
                text(route, "kind"),
                list(rule, "matches").iter().map(flat).collect::<Vec<_>>().join(" or "),
                match backends.is_empty() {
                    true => "the destination".to_owned(),
                    false => backends.join(", "),
                },
                list(rule, "origins").iter().map(place).collect::<Vec<_>>().join(", "),
            ]);
        }
    }
    if !routes.is_empty() {
        write_section(out, "Routes", &routes)?;
    }
    Ok(())
}

/// All rules of a proxy, by kind and traffic.
pub(super) fn write_rules(answer: &Value, out: &mut dyn Write, width: Option<usize>) -> anyhow::Result<()> {
    let mut table = Table::new(["POLICY", "TRAFFIC", "CONF", "FROM"]);
    let mut remarks = Vec::new();
    for of_kind in list(answer, "rules") {
        let kind = text(of_kind, "type");
        let mut add = |traffic: String, rule: &Value| {
            // A list in rules of the newer form.
            let conf = rule.get("conf").map(|conf| conf.get(0).unwrap_or(conf));
            table.add(vec![
                kind.clone(),
                traffic,
                conf.map(flat).unwrap_or_default(),
                origins(rule),
            ]);
        };
        if let Some(rule) = of_kind.get("proxyRule") {
            add("the proxy".to_owned(), rule);
        }
        for (inbound, rule) in inbound_rules(of_kind) {
            add(inbound, rule);
        }
        for rule in list(of_kind, "toResourceRules") {
            add(destination(rule), rule);
        }
        remarks.extend(notes(of_kind, &kind));
    }
    if table.is_empty() {
        writeln!(out, "No policy says anything about this proxy.")?;
    } else {
        table.write_within(out, "", width)?;
    }
    write_notes(out, &remarks)?;
    Ok(())
}

/// Rules for incoming traffic with the traffic; in the older form where a control plane has no other (before 2.10).
fn inbound_rules(of_kind: &Value) -> Vec<(String, &Value)> {
    let newer = list(of_kind, "inboundRules");
    let inbounds = if newer.is_empty() {
        list(of_kind, "fromRules")
    } else {
        newer
    };
    let mut rules = Vec::new();
    for inbound in inbounds {
        let port = inbound
            .pointer("/inbound/port")
            .map(Value::to_string)
            .unwrap_or_default();
        for rule in list(inbound, "rules") {
            rules.push((format!("inbound {port}{}", clients(rule)), rule));
        }
    }
    rules
}

fn clients(rule: &Value) -> String {
    let matchers = list(rule, "matchers").iter().map(|matcher| {
        let not = if matcher.get("not") == Some(&Value::Bool(true)) {
            "!"
        } else {
            ""
        };
        format!("{}={not}{}", text(matcher, "key"), text(matcher, "value"))
    });
    let older: Vec<String> = matchers.collect();
    let clients = match rule.get("match") {
        Some(clients) => flat(clients),
        None => older.join(", "),
    };
    match clients.as_str() {
        "" => clients,
        clients => format!(" from {clients}"),
    }
}

fn destination(rule: &Value) -> String {
    let empty = Value::Null;
    let resource = rule.get("resourceMeta").unwrap_or(&empty);
    let section = match text(rule, "resourceSectionName") {
        section if section.is_empty() => section,
        section => format!(":{section}"),
    };
    match text(resource, "type").as_str() {
        "Mesh" => "to all".to_owned(),
        kind => format!("to {kind} {}{section}", display_name(resource)),
    }
}

/// The policies that contributed, that of highest precedence first.
fn origins(rule: &Value) -> String {
    let origins = list(rule, "origin").iter().rev();
    let mut names: Vec<&str> = origins
        .map(|origin| display_name(origin.get("resourceMeta").unwrap_or(origin)))
        .collect();
    names.dedup();
    names.join(", ")
}

fn place(origin: &Value) -> String {
    format!("{} {}", text(origin, "name"), text(origin, "item"))
}

fn backend(reference: &Value) -> String {
    let labels = reference.get("labels").and_then(Value::as_object);
    let labels: BTreeMap<&String, &Value> = labels.into_iter().flatten().collect();
    let name = match labels.get(&labels::DISPLAY_NAME.to_owned()) {
        Some(name) => plain(name),
        None => labels
            .iter()
            .map(|(key, value)| format!("{key}={}", plain(value)))
            .collect::<Vec<_>>()
            .join(","),
    };
    let port = reference.get("port").map(|port| format!(":{port}")).unwrap_or_default();
    let weight = reference
        .get("weight")
        .map(|weight| format!(" weight {weight}"))
        .unwrap_or_default();
    format!("{name}{port}{weight}")
}

/// A document on one line: `http.requestTimeout=1s, idleTimeout=20s`.
fn flat(document: &Value) -> String {
    fn add(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(object) if !object.is_empty() => {
                for (key, value) in object {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    add(value, &path, found);
                }
            }
            value => found.push(format!("{path}={}", plain(value))),
        }
    }
    let mut found = Vec::new();
    if document.as_object().is_some_and(|object| !object.is_empty()) {
        add(document, "", &mut found);
    }
    found.join(", ")
}

/// `/http/requestTimeout` as users write it.
fn dotted(pointer: &str) -> String {
    let keys = pointer.trim_start_matches('/').split('/');
    let keys: Vec<String> = keys.map(|key| key.replace("~1", "/").replace("~0", "~")).collect();
    keys.join(".")
}

/// A value without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list<'a>(document: &'a Value, field: &str) -> &'a [Value] {
    let list = document.get(field).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}
